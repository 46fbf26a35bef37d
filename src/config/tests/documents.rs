//! What is written about configuration says what the code does.

use super::super::{
    Key, PROVIDER_MEMBERS, PROXY_CONFIG_MEMBERS, PROXY_MEMBERS, SECTIONS, commented_default,
};
use super::file;

const MANUAL: &str = include_str!("../../../docs/configuration.md");

#[test]
fn the_manual_has_a_row_for_each_key_with_its_variable_and_default() {
    for (section, keys) in SECTIONS {
        for key in keys {
            let mark = if key.secret { " (secret)" } else { "" };
            let variable = format!("{section}__{}", key.name).to_ascii_uppercase();
            let start = format!(
                "| `{section}.{}`{mark} | `GRANTLOG_{variable}` | ",
                key.name
            );
            let row = MANUAL.lines().find(|line| line.starts_with(&start));
            let row = row.unwrap_or_else(|| panic!("no row that begins with {start}"));
            let default = &row[start.len()..];
            let stated = default.starts_with(&format!("`{}` | ", key.default));
            assert!(stated || key.default.is_empty(), "{row}");
        }
    }
    let rows = MANUAL.lines().filter(|line| line.contains("| `GRANTLOG_"));
    assert_eq!(
        rows.count(),
        SECTIONS.iter().map(|(_, keys)| keys.len()).sum::<usize>()
    );
}

#[test]
fn the_manual_names_each_member_of_declared_tables() {
    for key in [PROVIDER_MEMBERS, PROXY_MEMBERS, PROXY_CONFIG_MEMBERS]
        .into_iter()
        .flatten()
    {
        let named = MANUAL
            .lines()
            .filter(|line| line.starts_with("| `"))
            .filter_map(|line| line.split(" | ").next())
            .any(|cell| cell.contains(&format!("`{}`", key.name)));
        assert!(named, "{} is not in the manual", key.name);
    }
}

#[test]
fn the_default_file_is_the_default() {
    let text = commented_default();
    let config = file(&text).expect("the file as it is written");
    assert_eq!(
        format!("{config:?}"),
        format!("{:?}", file("").expect("empty"))
    );
    for (section, keys) in SECTIONS {
        let header = format!("[{section}]\n");
        let (_, rest) = text.split_once(&header).expect("a header per section");
        let body = rest.split("\n[").next().unwrap_or(rest);
        for key in keys {
            let line = setting(body, key);
            let line = line.unwrap_or_else(|| panic!("{section}.{} is not written", key.name));
            if !key.default.is_empty() {
                let value = line.split_once(" = ").expect("a value").1;
                assert_eq!(
                    value.trim_matches('"'),
                    key.default,
                    "{section}.{}",
                    key.name
                );
            }
        }
    }
}

fn setting<'a>(body: &'a str, key: &Key) -> Option<&'a str> {
    body.lines().find(|line| {
        let name = line
            .strip_prefix('#')
            .and_then(|line| line.split(" = ").next());
        name == Some(key.name) || (key.secret && name == Some(&format!("{}_file", key.name)))
    })
}

#[test]
fn every_line_of_the_default_file_can_be_switched_on() {
    let commented = commented_default();
    let settings: String = commented
        .lines()
        .filter(|line| !line.starts_with("# ") && *line != "#" && !line.contains("_file"))
        .map(|line| format!("{}\n", line.trim_start_matches('#')))
        .collect();
    let error = file(&settings).expect_err("secrets are missing");
    assert!(
        error.to_string().contains("`keys.master_key` is missing"),
        "{error}"
    );
    let local = settings.replace("database_url", "#database_url");
    let secret = "type = \"oidc\"\nclient_secret = \"s3cr3t-in-clear\"";
    let whole = local.replace("type = \"oidc\"", secret);
    let config = file(&whole).expect("every line is accepted");
    assert_eq!((config.providers.len(), config.proxies.len()), (1, 1));
}
