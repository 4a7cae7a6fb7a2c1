//! What a request says: MLflow's clients put the same fields into the query of a GET, and into a JSON body otherwise.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::Method;
use serde_json::{Map, Value};

use super::refusal::Refusal;
use crate::api::rest::{Rest, read};

/// Names and values; a list has its name several times.
#[derive(Debug, Default)]
pub(super) struct Parameters(Vec<(String, String)>);

/// The most results of a page. MLflow's clients ask for 10,000 versions.
const RESULTS_MAX: usize = 200_000;

/// Those where it is not said, as MLflow's server has it for models.
const RESULTS_DEFAULT: usize = 100;

impl FromRequest<Rest> for Parameters {
    type Rejection = Refusal;

    async fn from_request(request: Request, rest: &Rest) -> Result<Self, Refusal> {
        if request.method() == Method::GET {
            let query = request.uri().query().unwrap_or_default();
            return Ok(Self(form_urlencoded::parse(query.as_bytes()).into_owned().collect()));
        }
        let headers = request.headers().clone();
        let body = Bytes::from_request(request, rest).await;
        Self::of_json(read(&headers, body)?)
    }
}

impl Parameters {
    fn of_json(fields: Map<String, Value>) -> Result<Self, Refusal> {
        let mut all = Vec::new();
        for (name, value) in fields {
            match value {
                Value::Null => {}
                Value::Array(values) => {
                    for value in values {
                        all.push((name.clone(), text(&name, value)?));
                    }
                }
                value => all.push((name.clone(), text(&name, value)?)),
            }
        }
        Ok(Self(all))
    }

    /// The value of a field that has to be there.
    pub(super) fn required(&self, name: &str) -> Result<&str, Refusal> {
        let found = self.optional(name).filter(|value| !value.is_empty());
        found.ok_or_else(|| Refusal::invalid(format!("the field '{name}' is missing")))
    }

    pub(super) fn optional(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The values of a list.
    pub(super) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.iter().filter(move |(own, _)| own == name).map(|(_, value)| value.as_str())
    }

    /// The number of a version.
    pub(super) fn version(&self) -> Result<i64, Refusal> {
        let given = self.required("version")?;
        given.parse().map_err(|_| Refusal::invalid(format!("version '{given}' is no number")))
    }

    /// The page of some results that is asked for, and the token of the next one. A token says how many came before.
    pub(super) fn page<T>(&self, all: Vec<T>) -> Result<(Vec<T>, Option<String>), Refusal> {
        let number = |name: &str, range: &str| match self.optional(name).filter(|given| !given.is_empty()) {
            None => Ok(None),
            Some(given) => {
                let number = given.parse::<usize>();
                number.map(Some).map_err(|_| Refusal::invalid(format!("{name} '{given}' is not {range}")))
            }
        };
        let range = format!("a number from 1 to {RESULTS_MAX}");
        let results = number("max_results", &range)?.unwrap_or(RESULTS_DEFAULT);
        if !(1..=RESULTS_MAX).contains(&results) {
            return Err(Refusal::invalid(format!("max_results {results} is not {range}")));
        }
        let before = number("page_token", "the next_page_token of an answer")?.unwrap_or(0);
        let behind = before.saturating_add(results);
        let next = (behind < all.len()).then(|| behind.to_string());
        Ok((all.into_iter().skip(before).take(results).collect(), next))
    }
}

/// A value as text.
fn text(name: &str, value: Value) -> Result<String, Refusal> {
    match value {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        Value::Bool(is_so) => Ok(is_so.to_string()),
        other => Err(Refusal::invalid(format!("the field '{name}' is a text or a number, and not {other}"))),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parameters(body: Value) -> Result<Parameters, Refusal> {
        let Value::Object(fields) = body else { panic!("{body}") };
        Parameters::of_json(fields)
    }

    #[test]
    fn fields_are_texts_and_lists_of_texts() {
        let found = parameters(json!({ "name": "m", "version": 3, "stages": ["None", "x"], "gone": null })).unwrap();
        assert_eq!((found.required("name"), found.version()), (Ok("m"), Ok(3)));
        assert_eq!(found.all("stages").collect::<Vec<_>>(), ["None", "x"]);
        assert_eq!(found.required("gone"), Err(Refusal::invalid("the field 'gone' is missing")));
        assert!(parameters(json!({ "name": { "a": 1 } })).is_err());
        assert!(parameters(json!({ "version": "v3" })).unwrap().version().is_err());
    }

    #[test]
    fn pages_follow_each_other() {
        let page = |token: &str, results: i64| {
            let body = json!({ "page_token": token, "max_results": results });
            parameters(body).unwrap().page(vec![1, 2, 3, 4, 5])
        };
        assert_eq!(page("", 2).unwrap(), (vec![1, 2], Some("2".to_owned())));
        assert_eq!(page("2", 2).unwrap(), (vec![3, 4], Some("4".to_owned())));
        assert_eq!(page("4", 2).unwrap(), (vec![5], None));
        assert_eq!(page("3", 2).unwrap(), (vec![4, 5], None), "nothing is behind the last");
        assert_eq!(page("9", 2).unwrap(), (vec![], None));
        assert!(page("x", 2).is_err() && page("", 0).is_err() && page("", -1).is_err());
    }
}
