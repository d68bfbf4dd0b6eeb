//! The fake card gateway of a development system, and what payment-svc is told of it.
use std::path::Path;

/// The executable, and its name in every list.
pub const BINARY: &str = "fake-gateway";

const PORT: u16 = 81;
const WEBHOOKS: u16 = 82;
/// Both are on this machine and made up: it keeps nobody out.
const SECRET: &str = "of assent dev";

fn local(base: u16, offset: u16) -> String {
    format!("127.0.0.1:{}", base + offset)
}

/// Where it is reached.
pub fn address(base: u16) -> String {
    format!("http://{}", local(base, PORT))
}

/// What it is told, as environment variables.
pub fn environment(base: u16, data_dir: &Path) -> Vec<(String, String)> {
    let pairs = [
        ("FAKE_GATEWAY_LISTEN", local(base, PORT)),
        ("FAKE_GATEWAY_STORE", data_dir.join("fake-gateway.jsonl").display().to_string()),
        ("FAKE_GATEWAY_WEBHOOK_URL", format!("http://{}/webhooks", local(base, WEBHOOKS))),
        ("FAKE_GATEWAY_WEBHOOK_SECRET", SECRET.to_owned()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
}

/// What payment-svc is told.
pub fn of_payment(base: u16) -> Vec<(String, String)> {
    let pairs = [
        ("ASSENT_PROVIDER", "gateway".to_owned()),
        ("ASSENT_GATEWAY_URL", address(base)),
        ("ASSENT_GATEWAY_WEBHOOKS", local(base, WEBHOOKS)),
        ("ASSENT_GATEWAY_WEBHOOK_SECRET", SECRET.to_owned()),
    ];
    pairs.map(|(name, value)| (name.to_owned(), value)).to_vec()
}
