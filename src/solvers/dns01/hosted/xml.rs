//! The little of XML that AWS speaks: elements and their text. Attributes, which are only name spaces, are passed
//! over; document types, which AWS never sends, are refused.

/// Deeper than any answer.
const DEPTH: usize = 16;

/// An element.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) children: Vec<Element>,
}

impl Element {
    /// The element of a document; `None` if it is none.
    pub(super) fn parse(document: &[u8]) -> Option<Self> {
        let mut rest = std::str::from_utf8(document).ok()?;
        let mut open: Vec<Self> = Vec::new();
        loop {
            let (text, tag) = rest.split_once('<')?;
            if let Some(element) = open.last_mut() {
                element.text.push_str(&unescape(text)?);
            }
            if let Some(comment) = tag.strip_prefix("!--") {
                rest = comment.split_once("-->")?.1;
                continue;
            }
            let (tag, after) = tag.split_once('>')?;
            rest = after;
            if tag.starts_with('?') {
                continue;
            }
            if tag.starts_with('!') {
                return None;
            }
            let closed = if let Some(name) = tag.strip_prefix('/') {
                let element = open.pop()?;
                (element.name == name.trim_end()).then_some(element)?
            } else {
                let alone = tag.ends_with('/');
                let name = tag.trim_end_matches('/').split_ascii_whitespace().next()?;
                let element = Self {
                    name: name.to_owned(),
                    ..Self::default()
                };
                if !alone {
                    open.push(element);
                    (open.len() <= DEPTH).then_some(())?;
                    continue;
                }
                element
            };
            match open.last_mut() {
                Some(parent) => parent.children.push(closed),
                None => return Some(closed),
            }
        }
    }

    /// One that holds text.
    pub(super) fn of_text(name: &str, text: impl Into<String>) -> Self {
        Self {
            name: name.to_owned(),
            text: text.into(),
            ..Self::default()
        }
    }

    /// One that holds others.
    pub(super) fn of_children(name: &str, children: Vec<Self>) -> Self {
        Self {
            name: name.to_owned(),
            children,
            ..Self::default()
        }
    }

    /// As it stands in a document. Of one that holds others the text is white space.
    pub(super) fn write(&self) -> String {
        let name = &self.name;
        let inner = if self.children.is_empty() {
            escape(&self.text)
        } else {
            self.children.iter().map(Self::write).collect()
        };
        format!("<{name}>{inner}</{name}>")
    }

    /// The first child of a name.
    pub(super) fn child(&self, name: &str) -> Option<&Self> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Along a path of names.
    pub(super) fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter()
            .try_fold(self, |element, name| element.child(name))
    }

    /// The text of the first child of a name, without white space around it; empty if there is none.
    pub(super) fn text_of(&self, name: &str) -> &str {
        self.child(name).map_or("", |child| child.text.trim())
    }
}

fn unescape(text: &str) -> Option<String> {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, entity)) = rest.split_once('&') {
        plain.push_str(before);
        let (entity, after) = entity.split_once(';')?;
        plain.push(match entity {
            "lt" => '<',
            "gt" => '>',
            "amp" => '&',
            "quot" => '"',
            "apos" => '\'',
            _ => {
                let number = entity.strip_prefix('#')?;
                let code = match number.strip_prefix('x') {
                    Some(digits) => u32::from_str_radix(digits, 16),
                    None => number.parse(),
                };
                char::from_u32(code.ok()?)?
            }
        });
        rest = after;
    }
    plain.push_str(rest);
    Some(plain)
}

/// Text as an element holds it.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '&' => escaped.push_str("&amp;"),
            '"' => escaped.push_str("&quot;"),
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests fail by panicking")]

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn elements_and_text_are_read() {
        let document = "<?xml version=\"1.0\"?>\n<!-- a <b> --><A xmlns=\"https://x/\">\n <B>1 &lt; 2 &#38;&#x26;</B><C/>\n\
                        <B>\"q\"</B></A>";
        let root = Element::parse(document.as_bytes()).unwrap();
        assert_eq!(root.name, "A");
        let names: Vec<_> = root.children.iter().map(|c| c.name.as_str()).collect();
        assert_eq!(names, ["B", "C", "B"]);
        assert_eq!(root.text_of("B"), "1 < 2 &&");
        assert_eq!(root.at(&["C"]).unwrap().text, "");
        assert_eq!(root.text_of("D"), "");
        assert_eq!(root.at(&["C", "D"]), None);
    }

    #[test]
    fn an_element_goes_back_as_it_came() {
        let document = "<A><B>1 &lt; 2 &amp;</B><C><D>&quot;q&quot;</D><E></E></C></A>";
        let spaced = document.replace("<C>", "\n <C>\n  ");
        let root = Element::parse(spaced.as_bytes()).unwrap();
        assert_eq!(root.write(), document);
    }

    #[test]
    fn what_is_no_document_is_none() {
        let deep = "<a>".repeat(20) + &"</a>".repeat(20);
        for document in [
            "",
            "text",
            "<a>",
            "<a></b>",
            "</a>",
            "<a>&nope;</a>",
            "<a>&#x110000;</a>",
            "<!DOCTYPE a [<!ENTITY b \"c\">]><a/>",
            "<a><!-- </a>",
            "<>",
            &deep,
        ] {
            assert_eq!(Element::parse(document.as_bytes()), None, "{document}");
        }
    }

    proptest! {
        #[test]
        fn no_document_breaks_it(document in "[<>/a&;#!?\\- ]{0,60}") {
            let _ = Element::parse(document.as_bytes());
        }

        #[test]
        fn text_comes_back(text in "\\PC*") {
            let document = format!("<a>{}</a>", escape(&text));
            prop_assert_eq!(Element::parse(document.as_bytes()).unwrap().text, text);
        }
    }
}
