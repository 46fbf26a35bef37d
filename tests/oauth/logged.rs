//! What the log says to whoever runs the server.

use crate::rig::Rig;

#[tokio::test]
async fn why_an_upstream_failed_and_for_which_request() {
    let rig = Rig::start().await;
    let client = rig.client().await;
    let tokens = rig.log_in(&client).await;
    let answer = rig.proxy.list_tools(&tokens.access).await.expect(502);
    let id = answer.header("x-request-id");
    let log = rig.server.log();
    let line = log
        .lines()
        .find(|line| line.contains("an upstream failed"))
        .expect("a line");
    let line: serde_json::Value = serde_json::from_str(line).expect("JSON");
    let error = line["error"].as_str().expect("an error");
    assert!(error.contains("refused"), "{error}");
    assert_eq!(line["proxy_id"], rig.proxy.id);
    assert_eq!(line["request_id"], id);
}
