//! What servers say is shown to people: make it safe to show, and short.

/// Longest piece of a server's text that is shown, in bytes.
pub const MAX_PIECE: usize = 512;
/// Longest message made of such pieces, in bytes.
pub const MAX_MESSAGE: usize = 1024;

/// At most `limit` bytes with nothing in it that could break a log line or a terminal, or show text in another order.
pub fn clean(text: &str, limit: usize) -> String {
    let mut out = String::with_capacity(text.len().min(limit));
    for character in text.trim().chars() {
        let start = out.len();
        if is_plain(character) {
            out.push(character);
        } else {
            out.extend(character.escape_default());
        }
        if out.len() > limit {
            out.truncate(start);
            return cut(out, limit);
        }
    }
    out
}

/// A link, safe to show.
pub fn clean_link(link: &str) -> String {
    clean(link, MAX_PIECE)
}

/// A link to the web, if the text is one that may be shown and followed.
pub fn web_link(text: &str) -> Option<&str> {
    let text = text.trim();
    let is_url = text.starts_with("https://") || text.starts_with("http://");
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    (is_url && is_plain && text.len() <= MAX_PIECE).then_some(text)
}

/// Ends a text that was too long with three dots, within the limit.
pub fn cut(mut text: String, limit: usize) -> String {
    let mut end = text.len().min(limit.saturating_sub(3));
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text.push_str("...");
    text
}

fn is_plain(character: char) -> bool {
    // Unicode Bidi_Control and the invisible characters beside it.
    let reorders = matches!(
        character,
        '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}'
    );
    !character.is_control() && !reorders
}
