//! Committees whose cost table says what every thread takes, on machines of their own and
//! together on one.

use fairlane_simnet::research::{Lab, Metrics, Settings, Value, file, shipped};
use fairlane_simnet::{Profile, Report, Scenario};

fn settings(rate: f64, shared_cores: i64) -> Settings {
    let text = shipped::scenario("loopback").expect("it is shipped");
    let mut settings = file::parse("loopback.toml", text)
        .expect("it is good")
        .settings;
    settings.set("workload.rate", Value::Float(rate));
    settings.set("workload.duration", Value::Text("1s".into()));
    settings.set("cpu.shared_cores", Value::Int(shared_cores));
    settings.set("crypto.tier", Value::Text("ideal".into()));
    settings
}

fn run(settings: &Settings) -> (Report, Metrics) {
    let lab = Lab::new(settings, 3, &shipped::matrix).expect("it can be");
    let cores = lab.cpu.cores;
    let mut scenario = Scenario::new(lab.n, 3, lab.intents.len(), Profile::Calm);
    scenario.tier = lab.tier();
    scenario.patience_ms = lab.patience_ms;
    scenario.lab = Some(std::sync::Arc::new(lab));
    let (report, record) = scenario.observe();
    assert!(report.passed(), "{report}");
    let metrics = Metrics::of(&report, &record.expect("a lab is recorded"), cores);
    (report, metrics)
}

#[test]
fn sharing_cores_and_more_load_both_cost_time() {
    let p50 = |rate, cores| run(&settings(rate, cores)).1.get("client_p50_ms").unwrap();
    let (own, shared, loaded) = (p50(200.0, 0), p50(200.0, 2), p50(1_500.0, 2));
    assert!(own < shared, "{own} {shared}");
    assert!(1.3 * shared < loaded, "{shared} {loaded}");
}

#[test]
fn runs_are_the_same_again_and_the_client_comes_last() {
    let settings = settings(100.0, 2);
    let (first, metrics) = run(&settings);
    assert_eq!(first.trace_hash, run(&settings).0.trace_hash);
    // Everybody opened everything, and the client saw it after the member.
    assert_eq!(metrics.get("opened"), metrics.get("orders"));
    assert!(metrics.get("client_p50_ms") > metrics.get("p50_ms"));
}

#[test]
fn with_costs_of_nothing_no_thread_waits() {
    let mut free = settings(100.0, 2);
    free.set("crypto.costs", Value::Text("zero".into()));
    let (_, metrics) = run(&free);
    assert_eq!(metrics.get("client_p50_ms"), None);
    let costly = run(&settings(100.0, 2)).1;
    assert!(metrics.get("p50_ms") < costly.get("p50_ms"));
}
