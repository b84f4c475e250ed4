//! JSON byte for byte as Go's `encoding/json` writes cert-manager's types.
//!
//! Names of Orders and Challenges carry a hash of these bytes (contract §5.2), so that order of
//! fields, what is left out when empty, and escapes must be Go's. Tables in `go_shapes` say, for each
//! struct, the fields in order and what becomes of an absent or empty one.

use std::fmt::Write;

use serde_json::{Map, Value};

use super::duration::{format_go_duration, parse_go_duration};

/// One Go struct: its fields in the order of their declaration.
pub(super) type Struct = &'static [Field];

/// One field of a Go struct.
pub(super) struct Field {
    name: &'static str,
    shape: Shape,
    absent: Absent,
}

/// What a field holds.
#[derive(Clone, Copy)]
pub(super) enum Shape {
    /// A scalar, a list or map of scalars, or free JSON: written as it is.
    Plain,
    /// A duration, which Go reads and writes anew: `2160h` becomes `2160h0m0s`.
    Duration,
    /// One struct.
    One(Struct),
    /// A list of structs.
    List(Struct),
}

/// What Go does with a field that has no value.
#[derive(Clone, Copy)]
pub(super) enum Absent {
    /// A value with `omitempty`: left out when absent, and when empty, zero or false.
    OmitEmpty,
    /// A pointer with `omitempty`: left out only when absent.
    OmitNil,
    /// Always there; this is what stands for an absent one.
    Write(&'static str),
    /// A struct that is no pointer: always there, with its own fields.
    WriteStruct,
}

pub(super) const fn field(name: &'static str, shape: Shape, absent: Absent) -> Field {
    Field {
        name,
        shape,
        absent,
    }
}

/// A value that is left out when empty.
pub(super) const fn opt(name: &'static str) -> Field {
    field(name, Shape::Plain, Absent::OmitEmpty)
}

/// A pointer to a value, left out when nil.
pub(super) const fn ptr(name: &'static str) -> Field {
    field(name, Shape::Plain, Absent::OmitNil)
}

/// A pointer to a duration, left out when nil.
pub(super) const fn duration(name: &'static str) -> Field {
    field(name, Shape::Duration, Absent::OmitNil)
}

/// A string that is always written.
pub(super) const fn text(name: &'static str) -> Field {
    field(name, Shape::Plain, Absent::Write("\"\""))
}

/// A pointer to a struct, left out when nil.
pub(super) const fn ptr_to(name: &'static str, fields: Struct) -> Field {
    field(name, Shape::One(fields), Absent::OmitNil)
}

/// A struct that is always written.
pub(super) const fn embed(name: &'static str, fields: Struct) -> Field {
    field(name, Shape::One(fields), Absent::WriteStruct)
}

/// A list of structs, left out when empty.
pub(super) const fn list(name: &'static str, fields: Struct) -> Field {
    field(name, Shape::List(fields), Absent::OmitEmpty)
}

/// Writes an object as Go writes that struct. Fields that the struct lacks are left out.
pub(super) fn encode(object: &Map<String, Value>, fields: Struct) -> String {
    let mut out = String::new();
    write_struct(&mut out, object, fields);
    out
}

fn write_struct(out: &mut String, object: &Map<String, Value>, fields: Struct) {
    out.push('{');
    let mut first = true;
    for field in fields {
        let value = object.get(field.name).filter(|v| !v.is_null());
        let omit = match field.absent {
            Absent::OmitEmpty => value.is_none_or(is_empty),
            Absent::OmitNil => value.is_none(),
            Absent::Write(_) | Absent::WriteStruct => false,
        };
        if omit {
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        write_string(out, field.name);
        out.push(':');
        write_field(out, value, field);
    }
    out.push('}');
}

fn write_field(out: &mut String, value: Option<&Value>, field: &Field) {
    match (field.shape, value) {
        (Shape::One(fields), Some(Value::Object(object))) => write_struct(out, object, fields),
        (Shape::One(fields), None) => write_struct(out, &Map::new(), fields),
        (Shape::List(fields), Some(Value::Array(items))) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                match item {
                    Value::Object(object) => write_struct(out, object, fields),
                    other => write_plain(out, other),
                }
            }
            out.push(']');
        }
        (Shape::Duration, Some(Value::String(text))) => match parse_go_duration(text) {
            Ok(duration) => write_string(out, &format_go_duration(duration)),
            Err(_) => write_string(out, text),
        },
        (_, Some(value)) => write_plain(out, value),
        (_, None) => {
            if let Absent::Write(zero) = field.absent {
                out.push_str(zero);
            }
        }
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(b) => !b,
        Value::Number(n) => n.as_f64() == Some(0.0),
        Value::String(s) => s.is_empty(),
        Value::Array(a) => a.is_empty(),
        Value::Object(o) => o.is_empty(),
    }
}

/// Writes a value whose keys are a map's: Go sorts them, as [`Map`] does.
fn write_plain(out: &mut String, value: &Value) {
    match value {
        Value::Null => out.push_str("null"),
        Value::Bool(true) => out.push_str("true"),
        Value::Bool(false) => out.push_str("false"),
        Value::Number(n) => out.push_str(&n.to_string()),
        Value::String(s) => write_string(out, s),
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_plain(out, item);
            }
            out.push(']');
        }
        Value::Object(entries) => {
            out.push('{');
            for (i, (key, item)) in entries.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write_string(out, key);
                out.push(':');
                write_plain(out, item);
            }
            out.push('}');
        }
    }
}

/// Writes a string with Go's escapes, which make it safe inside HTML and JavaScript.
fn write_string(out: &mut String, text: &str) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\0'..='\u{1f}' | '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out.push('"');
}
