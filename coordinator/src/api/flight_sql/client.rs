//! Clients and their settings, which a cookie tells apart (arrow.apache.org/docs/format/FlightSql.html, sessions).
//!
//! A client that keeps no cookies has no session: what it sets holds for the text that sets it. Behind a proxy many
//! clients share a connection, so a connection is no session.
//!
//! A client gets its session with the first answer, before it sets anything, and keeps it: arrow-go now and then loses
//! the cookie of an answer that is a stream (its call has been cancelled when the headers are looked at), which the
//! answer to SetSessionOptions is.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tidemill_plans::settings::{ResultOrder, SETTINGS, Settings};
use tonic::metadata::{MetadataMap, MetadataValue};
use tonic::{Response, Status};

use super::handles::{Handles, Owner};
use super::session_options::{OptionError, OptionValue};
use crate::access::Who;
use crate::clock::Clock;

/// The cookie's name, which the specification gives.
const COOKIE: &str = "arrow_flight_session_id";

/// In front of the session in the cookie of a client that has set nothing yet: of the others, settings that are not
/// there are lost.
const NEW: &str = "new-";

const SESSIONS_MAX: usize = 1024;
const SESSION_TTL: Duration = Duration::from_secs(3600);

/// The only catalog and its only schema: objects have plain names.
pub(super) const CATALOG: &str = "tidemill";
pub(super) const SCHEMA: &str = "public";

/// The settings of a client that has set none: it may ask for more rows than fit into memory, and puts them into an order
/// by ORDER BY.
pub(super) fn unset() -> Settings {
    Settings { result_order: ResultOrder::Arrival, ..Settings::default() }
}

/// The settings of clients that have set any.
pub(super) struct Sessions {
    settings: Handles<Settings>,
}

impl Sessions {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Arc<Self> {
        Arc::new(Self { settings: Handles::new(clock, SESSIONS_MAX, SESSION_TTL) })
    }

    /// The client that a request of somebody comes from.
    pub(super) fn client(self: &Arc<Self>, metadata: &MetadataMap, who: Who) -> Client {
        let cookie = metadata.get_all("cookie").iter().filter_map(|value| value.to_str().ok()).find_map(cookie_of);
        Client { sessions: Arc::clone(self), cookie, next: Arc::default(), who }
    }

    fn new_cookie(&self) -> String {
        format!("{NEW}{}", self.settings.next())
    }
}

/// A client, for one request.
#[derive(Clone)]
pub(in super::super) struct Client {
    sessions: Arc<Sessions>,
    /// What it has sent.
    cookie: Option<String>,
    /// What it is to send from now on.
    next: Arc<Mutex<Option<String>>>,
    who: Who,
}

impl Client {
    /// Who uses it.
    pub(super) fn who(&self) -> &Who {
        &self.who
    }

    /// Whose its handles are.
    pub(super) fn owner(&self) -> &Owner {
        &self.who.role
    }

    /// Whether it keeps cookies.
    pub(super) fn has_session(&self) -> bool {
        self.cookie.is_some()
    }

    /// Its settings. An error if they are lost.
    pub(super) fn settings(&self) -> Result<Settings, Status> {
        let Some(cookie) = self.next_cookie() else { return Ok(unset()) };
        let (session, is_new) = session_in(&cookie);
        match self.sessions.settings.get(self.owner(), session) {
            Some(settings) => Ok(settings),
            None if is_new => Ok(unset()),
            None => {
                self.answer_with(self.sessions.new_cookie());
                Err(Status::failed_precondition(
                    "the settings of this session are gone: nobody has used it for an hour, or the coordinator has \
                     been started again; connect again and set them again",
                ))
            }
        }
    }

    /// Keeps the settings that it has now.
    pub(super) fn keep(&self, settings: Settings) {
        let cookie = self.next_cookie().unwrap_or_else(|| self.sessions.new_cookie());
        let (session, is_new) = session_in(&cookie);
        self.sessions.settings.put(self.owner(), session, settings);
        if is_new {
            self.answer_with(session.to_owned());
        }
    }

    /// What it sends from now on, if it sends anything.
    fn next_cookie(&self) -> Option<String> {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).clone();
        next.or_else(|| self.cookie.clone())
    }

    /// Ends its session.
    pub(super) fn close(&self) {
        self.next_cookie().and_then(|cookie| self.sessions.settings.remove(self.owner(), session_in(&cookie).0));
        self.answer_with(self.sessions.new_cookie());
    }

    fn answer_with(&self, cookie: String) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(cookie);
    }

    /// Puts a new cookie into an answer, if the client is to have one.
    pub(in super::super) fn leave<T>(&self, answer: Result<Response<T>, Status>) -> Result<Response<T>, Status> {
        let next = self.next.lock().unwrap_or_else(PoisonError::into_inner).take();
        let next = next.or_else(|| self.cookie.is_none().then(|| self.sessions.new_cookie()));
        let Some(Ok(cookie)) = next.map(|next| MetadataValue::try_from(format!("{COOKIE}={next}; HttpOnly"))) else {
            return answer;
        };
        match answer {
            Ok(mut response) => {
                response.metadata_mut().insert("set-cookie", cookie);
                Ok(response)
            }
            Err(mut status) => {
                status.metadata_mut().insert("set-cookie", cookie);
                Err(status)
            }
        }
    }

    /// Sets an option of the session, or takes it back.
    pub(super) fn set_option(&self, name: &str, value: &OptionValue) -> Result<(), OptionError> {
        let only = match name {
            "catalog" => Some(CATALOG),
            "schema" => Some(SCHEMA),
            _ => None,
        };
        if let Some(only) = only {
            return if value.is_unset_or(only) { Ok(()) } else { Err(OptionError::InvalidValue) };
        }
        let default = unset().get(name).ok_or(OptionError::InvalidName)?;
        let mut settings = self.settings().map_err(|_| OptionError::Failed)?;
        let text = value.text().ok_or(OptionError::InvalidValue)?;
        settings.set(name, text.as_ref().unwrap_or(&default)).map_err(|_| OptionError::InvalidValue)?;
        self.keep(settings);
        Ok(())
    }

    /// The options of the session, by name.
    pub(super) fn options(&self) -> Result<Vec<(String, String)>, Status> {
        let settings = self.settings()?;
        let own = SETTINGS.iter().map(|spec| (spec.name.to_owned(), settings.get(spec.name).unwrap_or_default()));
        let fixed = [("catalog", CATALOG), ("schema", SCHEMA)];
        Ok(own.chain(fixed.map(|(name, value)| (name.to_owned(), value.to_owned()))).collect())
    }
}

/// The session of a cookie, and whether nothing had been set when it was given.
fn session_in(cookie: &str) -> (&str, bool) {
    cookie.strip_prefix(NEW).map_or((cookie, false), |session| (session, true))
}

/// Our cookie in a `cookie` header.
fn cookie_of(header: &str) -> Option<String> {
    header.split(';').find_map(|cookie| {
        let (name, value) = cookie.trim().split_once('=')?;
        (name == COOKIE).then(|| value.trim_matches('"').to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TestClock;

    fn request(cookie: Option<&str>) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        if let Some(cookie) = cookie {
            metadata.insert("cookie", format!("other=1; {cookie}").parse().unwrap());
        }
        metadata
    }

    /// What the client sends from now on.
    fn answered(client: &Client) -> Option<String> {
        let answer = client.leave(Ok(Response::new(()))).unwrap();
        let cookie = answer.metadata().get("set-cookie")?.to_str().unwrap();
        Some(cookie.split(';').next().unwrap().to_owned())
    }

    #[test]
    fn a_cookie_tells_settings_apart() {
        let clock = Arc::new(TestClock::default());
        let sessions = Sessions::new(Arc::clone(&clock) as Arc<dyn Clock>);
        let client_of = |cookie: Option<&str>| sessions.client(&request(cookie), Who::LOCAL);
        let first = client_of(None);
        assert!(!first.has_session());
        let new = answered(&first).unwrap();
        let other = answered(&client_of(None)).unwrap();

        let client = client_of(Some(&new));
        assert_eq!((client.has_session(), client.settings().unwrap()), (true, unset()));
        assert_eq!(answered(&client), None);
        client.set_option("parallelism", &OptionValue::from("7")).unwrap();
        let cookie = answered(&client).unwrap();

        // Also for a client that has not seen the new one.
        assert_ne!(cookie, new);
        for cookie in [&new, &cookie] {
            assert_eq!(client_of(Some(cookie)).settings().unwrap().parallelism, 7);
        }
        let client = client_of(Some(&cookie));
        assert_eq!(client.set_option("parallel", &OptionValue::from("7")), Err(OptionError::InvalidName));
        assert_eq!(client.set_option("parallelism", &OptionValue::from("x")), Err(OptionError::InvalidValue));
        assert_eq!(client.set_option("catalog", &OptionValue::from("other")), Err(OptionError::InvalidValue));
        client.set_option("catalog", &OptionValue::from(CATALOG)).unwrap();
        client.set_option("parallelism", &OptionValue::default()).unwrap();
        assert_eq!(client.settings().unwrap(), unset());
        assert!(client.options().unwrap().contains(&(String::from("parallelism"), String::from("2"))));
        // Another client is as it was.
        assert_eq!(client_of(Some(&other)).settings().unwrap(), unset());

        clock.advance(SESSION_TTL);
        let client = client_of(Some(&cookie));
        let lost = client.settings().unwrap_err();
        assert!(lost.message().contains("are gone"), "{lost}");
        let next = answered(&client).unwrap();
        assert_eq!(client_of(Some(&next)).settings().unwrap(), unset());
    }
}
