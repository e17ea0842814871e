//! AutoFlow's program over directories of its own, with small Python programs for notebooks.

mod days;
mod hostile;
mod outage;
mod rig;
mod token;

/// A workflow of one notebook.
fn one(name: &str, filename: &str) -> String {
    format!(
        "  - {{name: {name}, notebooks: {{n: {{filename: {filename}.ipynb, parameters: {{day: reference_date}}}}}}}}\n"
    )
}

/// Workflows of one notebook each, whose names they have, run by a schedule.
fn all(names: &[&str], schedule: &str) -> String {
    let workflows: String = names.iter().map(|name| one(name, name)).collect();
    let run: String = names.iter().map(|name| format!("    - {{workflow_name: {name}}}\n")).collect();
    format!("workflows:\n{workflows}available_dates_sensor:\n  schedule: {schedule}\n  workflows:\n{run}")
}
