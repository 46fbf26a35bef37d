//! Which `iss` is a provider's: in its discovery document, its answers and its ID tokens.

use url::Url;
use uuid::Uuid;

/// Stands for a tenant's id in the documents of Entra ID's shared endpoints.
const TENANT: &str = "{tenantid}";

/// Which `iss` is the provider's.
#[derive(Clone, Debug)]
pub(super) enum Issuer {
    /// Exactly this one.
    Known(String),
    /// Entra ID for several tenants: this one with the tenant's id filled in.
    PerTenant(String),
    /// The provider never said; this is what we call it, and at whose origin it must be.
    Assumed(String),
}

impl Issuer {
    /// The issuer's name if `iss` is the provider's, given the ID token's `tid`.
    pub(super) fn named(&self, iss: &str, tenant: Option<&str>) -> Option<String> {
        match self {
            // Google's first ID tokens left the scheme out, and some still do.
            Self::Known(name) if iss == "accounts.google.com" => {
                (name == "https://accounts.google.com").then(|| name.clone())
            }
            // By one name, or a person would be two: the slash comes and goes with the provider's
            // releases.
            Self::Known(name) => same_issuer(name, iss).then(|| name.clone()),
            Self::PerTenant(template) => {
                let tenant = tenant.filter(|tenant| Uuid::try_parse(tenant).is_ok())?;
                (template.replace(TENANT, tenant) == iss).then(|| iss.to_owned())
            }
            Self::Assumed(name) => same_origin(name, iss).then(|| iss.to_owned()),
        }
    }

    /// Whether `iss` in an authorization answer can be the provider's.
    pub(super) fn admits_answer_of(&self, iss: &str) -> bool {
        match self {
            Self::Known(name) => same_issuer(name, iss),
            Self::PerTenant(template) => match template.split_once(TENANT) {
                Some((before, after)) => iss
                    .strip_prefix(before)
                    .and_then(|rest| rest.strip_suffix(after))
                    .is_some_and(|tenant| Uuid::try_parse(tenant).is_ok()),
                None => false,
            },
            Self::Assumed(_) => true,
        }
    }

    /// What an Entra ID document names: one tenant, or a template for all it speaks for.
    pub(super) fn of_azure(issuer: &str) -> Self {
        match issuer.contains(TENANT) {
            true => Self::PerTenant(issuer.to_owned()),
            false => Self::Known(issuer.to_owned()),
        }
    }

    pub(super) fn name(&self) -> &str {
        match self {
            Self::Known(name) | Self::PerTenant(name) | Self::Assumed(name) => name,
        }
    }
}

/// Equal, or equal but for the slash after a bare host (RFC 3986 §6.2.3), which parsing the
/// configured URL may have added.
pub(super) fn same_issuer(one: &str, other: &str) -> bool {
    let bare = |text: &str| {
        let text = text.strip_suffix('/').unwrap_or(text);
        let rest = text.split_once("://").map(|(_, rest)| rest.to_owned())?;
        (!rest.contains('/')).then(|| text.to_owned())
    };
    one == other || bare(one).is_some_and(|one| bare(other) == Some(one))
}

fn same_origin(one: &str, other: &str) -> bool {
    match (Url::parse(one), Url::parse(other)) {
        (Ok(one), Ok(other)) => one.origin().is_tuple() && one.origin() == other.origin(),
        _ => false,
    }
}

/// Whether `found` is `configured` with the tenant's id, or its place holder, where the tenant's
/// name was. A tenant configured by its id admits no other.
pub(super) fn azure_tenant_of(found: &str, configured: &Url) -> bool {
    let Ok(found) = Url::parse(&found.replace(TENANT, &Uuid::nil().to_string())) else {
        return false;
    };
    let parts = |url: &Url| -> Option<(String, Vec<String>)> {
        let mut segments = url.path_segments()?.map(str::to_owned);
        Some((segments.next()?, segments.collect()))
    };
    match (parts(&found), parts(configured)) {
        (Some((found_tenant, found_rest)), Some((tenant, rest))) => {
            found.origin() == configured.origin()
                && found_rest == rest
                && Uuid::try_parse(&found_tenant).is_ok()
                && Uuid::try_parse(&tenant).is_err()
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_issuer_may_differ_by_the_slash_after_a_bare_host_only() {
        for (one, other, same) in [
            ("https://op.example", "https://op.example/", true),
            ("https://op.example/a", "https://op.example/a/", false),
            ("https://op.example", "https://op.example.evil", false),
            ("https://op.example", "http://op.example", false),
            ("https://op.example", "https://op.example//", false),
        ] {
            assert_eq!(same_issuer(one, other), same, "{one} {other}");
            assert_eq!(same_issuer(other, one), same, "{one} {other}");
        }
    }

    #[test]
    fn a_known_issuer_has_one_name() {
        let issuer = Issuer::Known("https://op.example".to_owned());
        for iss in ["https://op.example", "https://op.example/"] {
            assert_eq!(
                issuer.named(iss, None).as_deref(),
                Some("https://op.example")
            );
        }
        assert_eq!(issuer.named("https://op.example/a", None), None);
    }

    #[test]
    fn a_tenant_named_by_its_id_admits_no_other() {
        let id = "11111111-2222-3333-4444-555555555555";
        let other = "99999999-2222-3333-4444-555555555555";
        let host = "https://login.microsoftonline.com";
        for (configured, found, admitted) in [
            ("organizations/v2.0", "{tenantid}/v2.0".to_owned(), true),
            ("contoso.com/v2.0", format!("{id}/v2.0"), true),
            (&format!("{id}/v2.0"), format!("{other}/v2.0"), false),
            (&format!("{id}/v2.0"), "{tenantid}/v2.0".to_owned(), false),
            ("contoso.com/v2.0", format!("{id}/v1.0"), false),
            ("contoso.com/v2.0", "fabrikam.com/v2.0".to_owned(), false),
        ] {
            let url: Url = format!("{host}/{configured}").parse().expect("a URL");
            let found = format!("{host}/{found}");
            assert_eq!(
                azure_tenant_of(&found, &url),
                admitted,
                "{configured} {found}"
            );
        }
        let evil = format!("https://evil.example/{id}/v2.0");
        let url: Url = format!("{host}/contoso.com/v2.0").parse().expect("a URL");
        assert!(!azure_tenant_of(&evil, &url));
    }

    #[test]
    fn a_template_takes_its_tenant_from_the_token() {
        let tenant = "11111111-2222-3333-4444-555555555555";
        let issuer = Issuer::PerTenant("https://login.example/{tenantid}/v2.0".to_owned());
        let iss = format!("https://login.example/{tenant}/v2.0");
        assert_eq!(issuer.named(&iss, Some(tenant)), Some(iss.clone()));
        assert_eq!(issuer.named(&iss, None), None);
        assert_eq!(
            issuer.named("https://login.example/x/v2.0", Some("x")),
            None
        );
        assert!(issuer.admits_answer_of(&iss));
        assert!(!issuer.admits_answer_of("https://login.example/x/v2.0"));
    }
}
