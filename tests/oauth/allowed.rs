//! Whom a proxy admits (`oauth_proxy_allowed_subjects`).

use serde_json::json;
use support::{ALICE, Browser, Pkce};

use crate::fake_provider::User;
use crate::rig::Rig;

#[tokio::test]
async fn an_entry_is_an_address_a_domain_or_a_group_by_its_form() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let path = format!("/api/v1/proxies/{}", rig.proxy.id);
    for (allowed, email, email_verified, group, admits) in [
        ("example.com", "x@example.com", true, "", true),
        ("Example.com", "x@eXample.com", true, "", true),
        ("example.com", "x@example.com", false, "", false),
        ("example.com", "x@sub.example.com", true, "", false),
        ("example.com", "x@evil.example", true, "example.com", false),
        (
            "bücher.example",
            "x@evil.example",
            true,
            "bücher.example",
            false,
        ),
        ("x@example.com", "X@example.com", true, "", true),
        ("x@example.com", "x@example.com", false, "", false),
        (
            "x@example.com",
            "x@evil.example",
            true,
            "x@example.com",
            false,
        ),
        ("staff", "x@evil.example", false, "staff", true),
        ("staff", "x@staff", true, "Staff", false),
        ("a team.", "x@evil.example", false, "a team.", true),
        (
            "cn=staff.example",
            "x@evil.example",
            false,
            "cn=staff.example",
            true,
        ),
    ] {
        let change = json!({ "config": { "oauth_proxy_allowed_subjects": [allowed] } });
        rig.server.patch(&path, &change).await.expect(200);
        rig.provider.user(User {
            email: Some(email.to_owned()),
            email_verified,
            groups: vec![group.to_owned()],
            ..User::default()
        });
        let request = client.authorization(&Pkce::rfc7636());
        let page = client.authorize(&mut Browser::new(), &request, ALICE).await;
        let error = page.param("error");
        let case = format!("{allowed} {email} {email_verified} {group}");
        assert_eq!(page.param("code").is_some(), admits, "{case}");
        let denied = (!admits).then_some("access_denied");
        assert_eq!(error.as_deref(), denied, "{case}");
    }
}
