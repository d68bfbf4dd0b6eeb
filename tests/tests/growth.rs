//! `assent bench growth` and `endurance`: a small slice of each measures what it says and leaves nothing behind.
use std::path::Path;
use std::process::Stdio;

use participant::testing::folder;
use serde_json::Value;
use tests::program;
use tokio::process::Command;

/// The first of 50 ports for a test of this number, below those that the kernel gives away.
fn ports(number: u16) -> u16 {
    11_000 + u16::try_from(std::process::id() % 200).unwrap_or_default() * 100 + number * 50
}

/// Runs the verb in `folder`, with few clients and for a short time; what it wrote to this file.
async fn measured(folder: &Path, port_base: u16, verb: &[&str], environment: &[(&str, &str)], file: &str) -> Value {
    let data = folder.join("data");
    let output = Command::new(program("assent"))
        .args(["bench"])
        .args(verb)
        .args(["--clients", "8", "--output", "json", "--port-base", &port_base.to_string()])
        .args(["--folder".as_ref(), folder.as_os_str(), "--data-dir".as_ref(), data.as_os_str()])
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .await
        .expect("assent runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    for left in ["system", "members"] {
        assert!(!data.join(left).exists(), "{left} is left behind");
    }
    let written = std::fs::read(folder.join(file)).expect("the figures");
    let figures: Value = serde_json::from_slice(&written).expect("JSON");
    assert_eq!(figures, serde_json::from_slice::<Value>(&output.stdout).expect("JSON"), "what is written is printed");
    figures
}

fn rate(report: &Value) -> f64 {
    report["orders_per_second"].as_f64().unwrap_or_default()
}

#[tokio::test]
async fn transactions_over_more_participants_and_a_system_with_a_past_are_measured() {
    let folder = folder("growth-");
    let verb = ["growth", "--only", "participants,rows", "--participants", "4", "--rows", "5000", "--seconds", "1"];
    let figures = measured(folder.path(), ports(0), &verb, &[], "growth.json").await;
    let point = |place: usize| &figures[place]["measured"][0];
    let (participants, rows) = (&point(0)["report"], &point(1)["report"]);
    assert_eq!((&figures[0]["what"], &figures[1]["what"]), (&"participants".into(), &"rows".into()));
    assert_eq!((&participants["lines"], &point(1)["count"]), (&4.into(), &5_000.into()));
    assert!(rate(participants) > 10.0 && rate(rows) > 10.0, "{figures:#}");
    let cpu = participants["cpu"].as_array().expect("by process");
    let names: Vec<&str> = cpu.iter().filter_map(|row| row["name"].as_str()).collect();
    for name in ["coordinator", "coordinator-db", "inventory-4", "inventory-4-db", "load generator"] {
        assert!(names.contains(&name), "{name} in {names:?}");
    }
    assert!(folder.path().join("growth-participants.svg").exists() && folder.path().join("growth-rows.svg").exists());
}

#[tokio::test]
async fn endurance_tells_how_even_it_was_and_what_was_collected() {
    let folder = folder("endurance-");
    let verb =
        ["endurance", "--seconds", "5", "--warm-up-seconds", "1", "--sample-seconds", "1", "--doctor-up-to", "10"];
    let environment = [("ASSENT_WATERMARK_LAG_MS", "500"), ("ASSENT_COLLECT_INTERVAL_MS", "100")];
    let figures = measured(folder.path(), ports(1), &verb, &environment, "endurance.json").await;
    assert!(rate(&figures["report"]) > 10.0, "{figures:#}");
    let samples = figures["samples"].as_array().expect("samples");
    assert!((2..=4).contains(&samples.len()), "{samples:#?}");
    assert!(figures["steadiness"]["lowest_share"].as_f64().is_some_and(|share| share <= 1.0), "{figures:#}");
    assert!(figures["collected"]["log_rows"].as_u64() > Some(0), "{:#}", figures["collected"]);
    let databases = figures["databases"].as_array().expect("databases");
    let tables = databases.iter().flat_map(|database| database["tables"].as_array().expect("tables"));
    let log_bytes = tables.filter(|table| table["name"] == "branch_log").map(|table| table["table_bytes"].as_u64());
    assert!(databases.len() == 4 && log_bytes.filter(|bytes| *bytes > Some(0)).count() == 3, "{databases:#?}");
    assert!(folder.path().join("endurance.svg").exists());
}
