//! An object of a list, of a watch, or of a read, each deserialized on its own: one that somebody else wrote in a way that
//! cannot be read here is left out alone. The API server takes times that end after ours, or that are none at all.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Resource;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

/// An object, or that there is one.
#[derive(Clone, Debug)]
pub enum Item<K> {
    /// It could be read. A time out of range is the first or the last that there is.
    Read(K),
    /// It could not: the name, namespace and version.
    Unreadable(Box<ObjectMeta>),
}

impl<K: DeserializeOwned> Item<K> {
    fn of(json: &str) -> Self {
        if let Ok(object) = serde_json::from_str(json) {
            return Self::Read(object);
        }
        let mut value: Value = serde_json::from_str(json).unwrap_or_default();
        for part in ["metadata", "status"] {
            if let Some(part) = value.get_mut(part) {
                mend_times(part);
            }
        }
        match serde_json::from_str(&value.to_string()) {
            Ok(object) => Self::Read(object),
            Err(_) => Self::Unreadable(Box::new(names(&value))),
        }
    }
}

impl<'de, K: DeserializeOwned> Deserialize<'de> for Item<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(<&RawValue>::deserialize(deserializer)?.get()))
    }
}

impl<K: Resource<DynamicType = ()>> Resource for Item<K> {
    type DynamicType = ();
    type Scope = K::Scope;

    fn kind((): &()) -> Cow<'_, str> {
        K::kind(&())
    }

    fn group((): &()) -> Cow<'_, str> {
        K::group(&())
    }

    fn version((): &()) -> Cow<'_, str> {
        K::version(&())
    }

    fn plural((): &()) -> Cow<'_, str> {
        K::plural(&())
    }

    fn meta(&self) -> &ObjectMeta {
        match self {
            Self::Read(object) => object.meta(),
            Self::Unreadable(meta) => meta,
        }
    }

    fn meta_mut(&mut self) -> &mut ObjectMeta {
        match self {
            Self::Read(object) => object.meta_mut(),
            Self::Unreadable(meta) => meta,
        }
    }
}

fn names(object: &Value) -> ObjectMeta {
    let text = |name| Some(object.get("metadata")?.get(name)?.as_str()?.to_owned());
    ObjectMeta {
        name: text("name"),
        namespace: text("namespace"),
        resource_version: text("resourceVersion"),
        ..ObjectMeta::default()
    }
}

fn mend_times(value: &mut Value) {
    match value {
        Value::String(text) if is_like_a_time(text) && text.parse::<Timestamp>().is_err() => {
            *value = mended(text).map_or(Value::Null, |time| time.to_string().into());
        }
        Value::Array(all) => all.iter_mut().for_each(mend_times),
        Value::Object(fields) => {
            let fields = fields.iter_mut();
            // What users write there is theirs.
            fields
                .filter(|(name, _)| !matches!(name.as_str(), "annotations" | "labels"))
                .for_each(|(_, value)| mend_times(value));
        }
        _ => {}
    }
}

/// Whether a text can be nothing else than a time of RFC 3339.
fn is_like_a_time(text: &str) -> bool {
    let is_of_one = |b: u8| b.is_ascii_digit() || b"TtZz:+-.".contains(&b);
    text.len() >= "2006-01-02T15:04:05Z".len()
        && text.bytes().all(is_of_one)
        && text.bytes().take(4).all(|b| b.is_ascii_digit())
}

/// In whole seconds, as if it were in UTC; `None` for a day or an hour that there is not.
fn mended(text: &str) -> Option<Timestamp> {
    let time: DateTime = text.get(.."2006-01-02T15:04:05".len())?.parse().ok()?;
    let last = Timestamp::MAX.as_second();
    match time.to_zoned(TimeZone::UTC) {
        Ok(time) => Timestamp::from_second(time.timestamp().as_second().min(last)).ok(),
        Err(_) => Timestamp::from_second(last).ok(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use k8s_openapi::api::core::v1::Secret;
    use kube::core::{ObjectList, WatchEvent};
    use serde_json::json;

    use super::*;
    use crate::api::Certificate;

    fn certificate(name: &str, status: &Value) -> Value {
        json!({
            "apiVersion": "cert-manager.io/v1", "kind": "Certificate",
            "metadata": {"name": name, "namespace": "team", "resourceVersion": "7"},
            "spec": {"secretName": name, "issuerRef": {"name": "ca"}},
            "status": status,
        })
    }

    fn read(object: &Value) -> Option<Certificate> {
        match serde_json::from_str(&object.to_string()).unwrap() {
            Item::Read(object) => Some(object),
            Item::Unreadable(_) => None,
        }
    }

    fn not_after(text: &str) -> Option<String> {
        let object = read(&certificate("odd", &json!({"notAfter": text}))).unwrap();
        object.status.unwrap().not_after.map(|t| t.0.to_string())
    }

    #[test]
    fn a_time_that_is_odd_is_the_nearest_that_there_is() {
        for (written, read) in [
            ("2026-07-01T00:00:00Z", Some("2026-07-01T00:00:00Z")),
            ("9999-12-30T22:00:00Z", Some("9999-12-30T22:00:00Z")),
            // RFC 5280 §4.1.2.5: no end.
            ("9999-12-31T23:59:59Z", Some("9999-12-30T22:00:00Z")),
            ("2026-01-01T00:00:00+99:99", Some("2026-01-01T00:00:00Z")),
            ("2026-02-31T00:00:00Z", None),
        ] {
            assert_eq!(not_after(written).as_deref(), read, "{written}");
        }
    }

    #[test]
    fn times_of_the_metadata_too_and_nothing_that_users_write() {
        let odd = "9999-12-31T23:59:59Z";
        let mut object = certificate("odd", &json!({"notAfter": odd}));
        let field = json!({"manager": "x", "operation": "Update", "time": odd});
        *object.pointer_mut("/metadata").unwrap() = json!({
            "name": "odd", "annotations": {"until": odd}, "managedFields": [field],
        });
        let meta = read(&object).unwrap().metadata;
        assert_eq!(meta.annotations.unwrap().get("until").unwrap(), odd);
        assert!(meta.managed_fields.unwrap().remove(0).time.is_some());
    }

    #[test]
    fn one_that_cannot_be_read_is_left_out_of_a_list_and_of_a_watch_alone() {
        let list = json!({
            "apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "9"},
            "items": [
                certificate("fine", &json!({})),
                certificate("wrong", &json!({"revision": "private"})),
            ],
        });
        let list: ObjectList<Item<Certificate>> = serde_json::from_str(&list.to_string()).unwrap();
        assert!(matches!(&list.items.first(), Some(Item::Read(_))));
        let wrong = list.items.last().unwrap();
        assert!(matches!(wrong, Item::Unreadable(_)));
        assert_eq!(wrong.meta().name.as_deref(), Some("wrong"));
        assert_eq!(wrong.meta().namespace.as_deref(), Some("team"));
        assert_eq!(wrong.meta().resource_version.as_deref(), Some("7"));
        assert!(!format!("{wrong:?}").contains("private"));

        let event = json!({"object": certificate("wrong", &json!([]))}).to_string();
        let event = event.replacen('{', r#"{"type":"MODIFIED","#, 1);
        let event: WatchEvent<Item<Certificate>> = serde_json::from_str(&event).unwrap();
        assert!(matches!(event, WatchEvent::Modified(Item::Unreadable(_))));
    }

    #[test]
    fn no_content_is_needed_to_tell_one_that_is_not_even_an_object() {
        let item: Item<Secret> = serde_json::from_str("[1]").unwrap();
        assert!(matches!(item, Item::Unreadable(meta) if *meta == ObjectMeta::default()));
    }
}
