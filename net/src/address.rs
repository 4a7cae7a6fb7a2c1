//! Where a server is, as people and drivers write it.

use std::fmt;

/// The schemes of Flight, by whether they mean TLS; ADBC's come first.
const SCHEMES: [(&str, bool); 6] = [
    ("grpc+tls://", true),
    ("grpcs://", true),
    ("https://", true),
    ("grpc+tcp://", false),
    ("grpc://", false),
    ("http://", false),
];

/// The address of a Flight server. As text it is a URL that says `https` or `http`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// Whether it speaks TLS.
    pub has_tls: bool,
    /// `host:port`.
    pub authority: String,
}

impl Address {
    /// Reads `grpc://host:port`, `grpc+tls://host:port` and their like; nothing if it is none of them.
    #[must_use]
    pub fn from_url(url: &str) -> Option<Self> {
        let found = SCHEMES.iter().find_map(|(scheme, has_tls)| Some((url.strip_prefix(scheme)?, *has_tls)));
        let (rest, has_tls) = found?;
        let authority = rest.trim_end_matches('/').to_owned();
        (!authority.is_empty()).then_some(Self { has_tls, authority })
    }

    /// The URL of a location, as Flight's clients expect it.
    #[must_use]
    pub fn location(&self) -> String {
        let scheme = SCHEMES.iter().find(|(_, has_tls)| *has_tls == self.has_tls).map_or("", |(scheme, _)| *scheme);
        format!("{scheme}{}", self.authority)
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", if self.has_tls { "https" } else { "http" }, self.authority)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn schemes_say_whether_there_is_tls() {
        for (url, shown) in [
            ("grpc://a:1", "http://a:1"),
            ("grpc+tcp://a:1/", "http://a:1"),
            ("grpcs://a:1", "https://a:1"),
            ("grpc+tls://[::1]:1", "https://[::1]:1"),
            ("https://a:1", "https://a:1"),
        ] {
            assert_eq!(Address::from_url(url).unwrap().to_string(), shown);
        }
        assert_eq!((Address::from_url("a:1"), Address::from_url("grpc://")), (None, None));
    }
}
