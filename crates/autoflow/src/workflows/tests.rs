use std::collections::BTreeSet;
use std::path::Path;

use proptest::prelude::*;
use serde_json::json;
use time::Date;

use super::yaml::iso;
use super::*;

/// A directory with these notebooks and a template.
fn inputs() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for name in ["run_flows.ipynb", "flows_report.ipynb", "template.tpl", "notes.txt"] {
        std::fs::write(dir.path().join(name), "{}").unwrap();
    }
    dir
}

fn faults(text: &str) -> Vec<String> {
    let dir = inputs();
    match read(text, dir.path()) {
        Ok(read) => panic!("it is taken: {read:?}"),
        Err(Faults(faults)) => faults.iter().map(ToString::to_string).collect(),
    }
}

fn day(text: &str) -> Date {
    iso(text).unwrap()
}

const WHOLE: &str = r#"
workflows:
  - name: flows_above_normal
    notebooks:
      report:
        filename: flows_report.ipynb
        parameters: {previous_notebook: run_flows, url: flowapi_url}
        output: {format: pdf, template: template.tpl}
      run_flows:
        filename: run_flows.ipynb
        parameters:
          aggregation_unit: unit
          reference_date: reference_date
          date_ranges: date_ranges
available_dates_sensor:
  schedule: "0 0 * * *"
  cdr_types: [calls, sms]
  workflows:
    - workflow_name: flows_above_normal
      parameters: {unit: admin2}
      earliest_date: 2016-01-05
      date_stencil: [[2016-01-01, 2016-01-03], -1, 0]
"#;

/// `WHOLE` with a part in the place of another.
fn with(part: &str, other: &str) -> String {
    assert!(WHOLE.contains(part), "{part}");
    WHOLE.replacen(part, other, 1)
}

#[test]
fn upstreams_example_is_read_whole() {
    let dir = inputs();
    let read = read(WHOLE, dir.path()).unwrap();
    let workflow = &read.workflows["flows_above_normal"];
    let keys: Vec<_> = workflow.notebooks.iter().map(|notebook| notebook.key.as_str()).collect();
    assert_eq!(keys, ["run_flows", "report"], "what needs another's result comes after it");
    assert_eq!(workflow.asks, BTreeSet::from(["unit".to_owned()]));
    assert_eq!(workflow.notebooks[1].report, Some(Report { template: Some("template.tpl".to_owned()) }));
    assert_eq!(workflow.notebooks[0].report, None);
    let sensor = &read.sensor;
    assert_eq!(sensor.schedule.as_ref().unwrap().text(), "0 0 * * *");
    assert_eq!(sensor.cdr_types, Some(BTreeSet::from(["calls".to_owned(), "sms".to_owned()])));
    let configured = &sensor.workflows[0];
    assert_eq!(configured.earliest, Some(day("2016-01-05")));
    let (parameters, needed) = configured.run_of(day("2016-01-07")).unwrap();
    let pairs = [("2016-01-01", "2016-01-03"), ("2016-01-06", "2016-01-07"), ("2016-01-07", "2016-01-08")];
    assert_eq!(needed, pairs.map(|(from, to)| (day(from), day(to))), "half-open");
    let ranges = json!([["2016-01-01", "2016-01-03"], ["2016-01-06", "2016-01-07"], ["2016-01-07", "2016-01-08"]]);
    assert_eq!(
        serde_json::Value::from(parameters),
        json!({"unit": "admin2", "reference_date": "2016-01-07", "date_ranges": ranges})
    );
}

#[test]
fn a_run_waits_for_all_of_its_days() {
    let dir = inputs();
    let read = read(WHOLE, dir.path()).unwrap();
    let due = |days: &[&str]| {
        let days = days.iter().map(|text| day(text)).collect();
        read.sensor.workflows[0].due(&days).map(|(day, _)| day.to_string()).collect::<Vec<_>>()
    };
    let all = ["2016-01-01", "2016-01-02", "2016-01-03", "2016-01-04", "2016-01-05", "2016-01-06"];
    assert_eq!(due(&all), ["2016-01-05", "2016-01-06"], "from the earliest on");
    assert_eq!(due(&all[1..]), [""; 0], "an absolute day is missing");
    assert_eq!(due(&[all[0], all[1], all[4], all[5]]), ["2016-01-06"], "the day before is missing");
    assert_eq!(due(&[]), [""; 0]);
}

#[test]
fn every_message_stands_at_its_line_and_key() {
    let notebooks = "      run_flows:\n        filename: run_flows.ipynb";
    for (text, says) in [
        (
            "available_dates_sensor: {schedule: null, workflows: []}".to_owned(),
            "line 1, column 1: Input file does not have a 'workflows' section.",
        ),
        ("workflows: []".to_owned(), "line 1, column 1: Input file does not have a 'available_dates_sensor' section."),
        (String::new(), "Input file does not have a 'workflows' section."),
        ("- 1".to_owned(), "Input file does not have a 'workflows' section."),
        (
            with(
                "workflows:\n  - name: flows_above_normal\n",
                "workflows:\n  - {name: flows_above_normal, notebooks: {a: {filename: run_flows.ipynb}}}\n  - name: flows_above_normal\n",
            ),
            "line 4, column 11, workflows[1].name: Duplicate workflow name.",
        ),
        (with("run_flows:\n", "date_ranges:\n"), "workflows[0].notebooks.date_ranges: 'date_ranges' is a name"),
        (
            with("aggregation_unit: unit", "aggregation_unit: report"),
            "line 5, column 7, workflows[0].notebooks: Notebook specifications contain circular dependencies.",
        ),
        (
            with(notebooks, "      run_flows:\n        filename: notes.txt"),
            "line 10, column 19, workflows[0].notebooks.run_flows.filename: File 'notes.txt' is not a Jupyter notebook.",
        ),
        (with(notebooks, "      run_flows:\n        filename: other.ipynb"), "Notebook 'other.ipynb' not found."),
        (
            with(notebooks, "      run_flows:\n        filename: ../run_flows.ipynb"),
            "Notebook '../run_flows.ipynb' not found.",
        ),
        (with("format: pdf", "format: html"), "workflows[0].notebooks.report.output.format: Must be one of: pdf."),
        (with("template: template.tpl", "template: none.tpl"), "Asciidoc template file 'none.tpl' not found."),
        (
            with("{format: pdf, template: template.tpl}", "{}"),
            "workflows[0].notebooks.report.output.format: Missing data for required field.",
        ),
        (
            with("parameters: {previous_notebook: run_flows, url: flowapi_url}", "parameters: {n: 3}"),
            "workflows[0].notebooks.report.parameters.n: Not a valid string.",
        ),
        (
            with("        output:", "        outputs: 1\n        output:"),
            "workflows[0].notebooks.report.outputs: Unknown field.",
        ),
        (with("  schedule: \"0 0 * * *\"\n", ""), "available_dates_sensor.schedule: Missing data for required field."),
        (
            with("0 0 * * *", "0 0 * *"),
            "line 16, column 13, available_dates_sensor.schedule: Invalid cron string: '0 0 * *'.",
        ),
        (with("0 0 * * *", "0 0 0 * * *"), "Invalid cron string: '0 0 0 * * *'."),
        (with("0 0 * * *", "61 0 * * *"), "Invalid cron string: '61 0 * * *'."),
        (
            with("[calls, sms]", "[calls, faxes]"),
            "available_dates_sensor.cdr_types: Must be one of: calls, sms, mds, topups.",
        ),
        (
            with("workflow_name: flows_above_normal", "workflow_name: flows"),
            "available_dates_sensor.workflows[0].workflow_name: Workflow does not exist in this storage.",
        ),
        (
            with("{unit: admin2}", "{}"),
            "line 20, column 19, available_dates_sensor.workflows[0].parameters: Missing required parameters {'unit'} for workflow 'flows_above_normal'.",
        ),
        (
            with("{unit: admin2}", "{unit: admin2, b: 1, a: 2}"),
            "Unexpected parameters provided for workflow 'flows_above_normal': {'a', 'b'}.",
        ),
        (with("{unit: admin2}", "{unit: admin2, reference_date: 2016-01-01}"), "'reference_date' is set by AutoFlow"),
        (with("2016-01-05", "yesterday"), "available_dates_sensor.workflows[0].earliest_date: Not a valid date."),
        (with("2016-01-05", "2016-02-30"), "there is no day 2016-02-30"),
        (
            with("[2016-01-01, 2016-01-03]", "[1, 2, 3]"),
            "available_dates_sensor.workflows[0].date_stencil[0]: Expected date interval to have length 2 (in format [start, end]), but got sequence of length 3.",
        ),
        (
            with("-1, 0]", "-1, 'x']"),
            "line 22, column 52, available_dates_sensor.workflows[0].date_stencil[2]: 'x' is not an integer or date.",
        ),
        (with("-1, 0]", "-1, 0.5]"), "0.5 is not an integer or date."),
        (
            with("[2016-01-01, 2016-01-03]", "[2016-01-03, 2016-01-03]"),
            "Date stencil contains invalid interval (2016-01-03, 2016-01-03).",
        ),
        (with("[2016-01-01, 2016-01-03]", "[0, -1]"), "Date stencil contains invalid interval (0, -1)."),
        (with("name: flows_above_normal", "name: ../flows"), "workflows[0].name: Names of files are made of it"),
        (with("name: flows_above_normal", "name: [a"), "it is not YAML"),
        (with("  cdr_types:", "  schedule: null\n  cdr_types:"), "the key 'schedule' is there twice"),
    ] {
        let faults = faults(&text);
        assert!(faults.iter().any(|fault| fault.contains(says)), "{says}\n{faults:#?}");
    }
}

#[test]
fn each_result_has_a_name_of_its_own_that_a_file_can_have() {
    let two = |one: &str, other: &str| {
        let notebooks =
            format!("      {one}: {{filename: run_flows.ipynb}}\n      {other}: {{filename: run_flows.ipynb}}\n");
        let sensor = "available_dates_sensor: {schedule: null, workflows: []}\n";
        format!("workflows:\n  - name: w\n    notebooks:\n{notebooks}{sensor}")
    };
    let dir = inputs();
    assert!(read(&two("a", "b"), dir.path()).is_ok());
    assert!(read(&two("a", &"b".repeat(150)), dir.path()).is_ok());
    for (text, says) in [
        (two("a/b", "a-b"), "Two notebooks would have results of one name, 'run_flows-a-b__…'"),
        (two("a", &"b".repeat(200)), "The name of its result would be too long by"),
        (two("a", r#""b\tc""#), "A name with control characters"),
    ] {
        let faults = faults(&text);
        assert!(faults.iter().any(|fault| fault.contains(says)), "{says}\n{faults:#?}");
    }
    // As many keys as may be: comparing each with each took minutes.
    let keys: String = (0..49_000).map(|key| format!("          k{key}: 1\n")).collect();
    assert!(!faults(&with("      parameters: {unit: admin2}\n", &format!("      parameters:\n{keys}"))).is_empty());
}

#[test]
fn all_that_is_wrong_is_said_at_once() {
    let text = with("format: pdf", "format: html").replace("[calls, sms]", "[fax]").replace("2016-01-05", "later");
    assert_eq!(faults(&text).len(), 3);
}

#[test]
fn scalars_are_what_they_are_to_python() {
    let stencil = |stencil: &str| {
        let dir = inputs();
        let text = with("[[2016-01-01, 2016-01-03], -1, 0]", stencil);
        read(&text, dir.path()).unwrap().sensor.workflows[0].stencil.clone()
    };
    let offset = |days| Element::Day(Point::Offset(days));
    assert_eq!(stencil("[true, no, 010, 0x10, 1_0, +3, 1:30]"), [1, 0, 8, 16, 10, 3, 90].map(offset));
    assert_eq!(
        stencil("[2016-01-01 10:00:00, 2016-1-2t10:00:00]"),
        ["2016-01-01", "2016-01-02"].map(|text| Element::Day(Point::Date(day(text))))
    );
    // Where the two ends are of two kinds it depends on the day whether that is an interval.
    let mixed = stencil("[[2016-01-03, 0]]");
    assert_eq!(ranges(&mixed, day("2016-01-03")), None);
    assert_eq!(ranges(&mixed, day("2016-01-05")), Some(vec![(day("2016-01-03"), day("2016-01-05"))]));
    assert_eq!(ranges(&[Element::Day(Point::Offset(i64::MAX))], day("2016-01-05")), None);
    let dir = inputs();
    let text = with(
        "{unit: admin2}",
        "{unit: {a: [1, 1.5, yes, ~, 'yes', 2016-01-01, 1e3], 2: &x {b: 1}, c: {<<: *x, d: 2}}}",
    );
    let read = read(&text, dir.path()).unwrap();
    let unit = &read.sensor.workflows[0].parameters["unit"];
    let a = json!([1, 1.5, true, null, "yes", "2016-01-01", "1e3"]);
    assert_eq!(*unit, json!({"a": a, "2": {"b": 1}, "c": {"b": 1, "d": 2}}));
}

#[test]
fn a_few_lines_do_not_stand_for_billions() {
    let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for level in 1..12 {
        let aliases = vec![format!("*a{}", level - 1); 10].join(", ");
        text.push_str(&format!("a{level}: &a{level} [{aliases}]\n"));
    }
    assert!(faults(&text)[0].contains("too deep or too large"));
    assert!(faults(&"[".repeat(100_000)).iter().any(|fault| fault.contains("line 1")));
}

#[test]
fn a_schedule_is_in_utc_and_skips_nothing() {
    let at = |seconds| std::time::UNIX_EPOCH + std::time::Duration::from_secs(seconds);
    let schedule = Schedule::parse("30 6 * * 1").unwrap();
    // 1 January 1970 was a Thursday.
    let monday = 4 * 86400 + 6 * 3600 + 30 * 60;
    assert_eq!(schedule.after(at(0)), Some(at(monday)));
    assert_eq!(schedule.after(at(monday)), Some(at(monday + 7 * 86400)), "after, not at");
    assert_eq!(Schedule::parse("0 0 31 2 *"), None, "that never comes");
}

proptest! {
    #[test]
    fn no_text_breaks_the_reader(text in "[ \\[\\]{}:,&*<!\"'|>\\-~a-c0-9\n#%@?]{0,200}") {
        let _ = read(&text, Path::new("/nonexistent"));
    }

    #[test]
    fn no_edit_of_a_good_file_breaks_it(at in 0..WHOLE.len(), put in "[ \\[\\]{}:,&*<!\"'|>\\-~a0\n]{0,6}", cut in 0..20usize) {
        if let Some((before, after)) = WHOLE.split_at_checked(at) {
            let text = format!("{before}{put}{}", after.get(cut..).unwrap_or_default());
            if let Err(Faults(faults)) = read(&text, Path::new("/nonexistent")) {
                let lines = text.lines().count() + 1;
                prop_assert!(!faults.is_empty() && faults.iter().all(|fault| (1..=lines).contains(&fault.line)), "{faults:?}");
            }
        }
    }

    #[test]
    fn days_survive_their_text(days in 0..700_000i32) {
        let date = Date::from_julian_day(1_900_000 + days).unwrap();
        if date.year() > 0 {
            prop_assert_eq!(iso(&date.to_string()), Some(date));
        }
    }

    #[test]
    fn a_stencil_needs_the_days_that_it_says(from in -400..400i64, length in 1..400i64, reference in 0..40_000i32) {
        let reference = Date::from_julian_day(2_450_000 + reference).unwrap();
        let element = Element::Interval(Point::Offset(from), Point::Offset(from + length));
        let ranges = ranges(&[element], reference).unwrap();
        prop_assert_eq!((ranges[0].1 - ranges[0].0).whole_days(), length);
        prop_assert_eq!((ranges[0].0 - reference).whole_days(), from);
    }
}
