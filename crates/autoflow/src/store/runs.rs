//! Runs: who has which, how each attempt ended, and what is to be tried again.

use std::collections::BTreeSet;

use serde_json::{Map, Value};
use sqlx::any::AnyRow;
use sqlx::{Any, Row as _, Transaction};
use time::Date;

use super::{Error, Result, Store};
use crate::run::hash;

/// After so many seconds without a heartbeat nobody runs it any more.
pub const STALE: i64 = 60;

/// After so many seconds nobody puts in its place any more what a run has made: whoever tries that gives up after ten minutes.
const UNPLACED: i64 = 900;

/// How a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// It has begun.
    Running,
    /// It will not run again for the same parameters.
    Success,
    /// It may be tried again.
    Failed,
}

impl State {
    /// As in the tables.
    pub fn name(self) -> &'static str {
        match self {
            State::Running => "running",
            State::Success => "success",
            State::Failed => "failed",
        }
    }

    fn of(name: &str) -> State {
        match name {
            "running" => State::Running,
            "success" => State::Success,
            _ => State::Failed,
        }
    }
}

/// What is known of a run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The workflow's name.
    pub workflow: String,
    /// Of all its parameters.
    pub hash: String,
    /// The day that it is about.
    pub reference: String,
    /// All its parameters.
    pub parameters: Map<String, Value>,
    /// How it stands.
    pub state: State,
    /// Names this attempt.
    pub id: String,
    /// Attempts, this one among them.
    pub attempts: i64,
    /// When it is tried again, in seconds since 1970; 0: never.
    pub next_try: i64,
    /// When it began.
    pub started: i64,
    /// When it ended; 0: it has not.
    pub ended: i64,
    /// Why it failed, in a line; or what else there is to say of it.
    pub error: String,
    /// Its files, relative to the directory of outputs.
    pub files: Vec<String>,
    /// Whether they are in their place.
    pub published: bool,
}

/// How often and when what failed is tried again.
#[derive(Clone, Copy, Debug)]
pub struct Retry {
    /// Attempts in all.
    pub most: i64,
    /// Seconds before the second one; doubled before each further.
    pub first: i64,
    /// At most so many.
    pub longest: i64,
}

impl Retry {
    /// Seconds after the end of an attempt until the next; `None`: there is none.
    pub fn after(self, attempts: i64) -> Option<i64> {
        if attempts >= self.most {
            return None;
        }
        let doubled = u32::try_from(attempts - 1).ok().and_then(|times| self.first.checked_shl(times));
        // Shifted out of sight, or just large.
        Some(doubled.filter(|seconds| *seconds >= self.first).unwrap_or(self.longest).min(self.longest))
    }
}

/// How an attempt ended.
#[derive(Clone, Debug)]
pub struct End {
    /// Whether it did what it should.
    pub success: bool,
    /// Why not, or what else there is to say.
    pub error: String,
    /// Its files, relative to the directory of outputs.
    pub files: Vec<String>,
}

/// Whose runs nobody runs any more.
#[derive(Clone, Copy, Debug)]
pub enum Dead<'a> {
    /// All of an owner's.
    Owner(&'a str),
    /// Those that have not said for a minute that they live, but these: who asks knows that they do.
    Silent {
        /// Names of attempts.
        but: &'a BTreeSet<String>,
    },
}

impl Store {
    /// Makes a run ours, if it is to be done: nobody has done it or does it, and what failed waits no longer. `again`: whatever became of it
    /// before, unless somebody does it. Not while the files of the attempt before are on their way to their place: they are known by its name
    /// alone, which is another from then on.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn claim(
        &self,
        workflow: &str,
        reference: Date,
        parameters: &Map<String, Value>,
        owner: &str,
        again: bool,
    ) -> Result<Option<Run>> {
        let hash = hash(parameters);
        let mut change = self.change().await?;
        let known = "SELECT state, attempts, next_try, ended, published, {now} AS now FROM autoflow_runs \
                     WHERE workflow_name = $1 AND parameters_hash = $2";
        let known = sqlx::query(self.sql(known)).bind(workflow).bind(&hash).fetch_optional(&mut *change).await?;
        let attempts = match known {
            None if !again && self.upstreams(&mut change, workflow, &hash).await? == Some(State::Success) => {
                return Ok(None);
            }
            None => 0,
            Some(row) => {
                let (attempts, next): (i64, i64) = (row.try_get("attempts")?, row.try_get("next_try")?);
                let (now, ended): (i64, i64) = (row.try_get("now")?, row.try_get("ended")?);
                let unplaced = row.try_get::<i64, _>("published")? == 0 && ended > now - UNPLACED;
                match State::of(row.try_get("state")?) {
                    // Those that have fallen silent are `reap`'s.
                    State::Running => return Ok(None),
                    _ if unplaced => return Ok(None),
                    State::Success if !again => return Ok(None),
                    State::Failed if !again && (next == 0 || next > now) => return Ok(None),
                    State::Success => 0,
                    State::Failed if again && next == 0 => 0,
                    State::Failed => attempts,
                }
            }
        };
        let id = format!("{:016x}", rand::random::<u64>());
        let text = "INSERT INTO autoflow_runs (workflow_name, parameters_hash, reference_date, parameters, state, run, owner, heartbeat, \
                    attempts, next_try, started, ended, error, files, published) \
                    VALUES ($1, $2, $3, $4, 'running', $5, $6, {now}, $7, 0, {now}, 0, '', '[]', 1) \
                    ON CONFLICT (workflow_name, parameters_hash) DO UPDATE SET parameters = $4, state = 'running', run = $5, owner = $6, \
                    heartbeat = {now}, attempts = $7, next_try = 0, started = {now}, ended = 0, error = '', files = '[]', published = 1";
        let text = sqlx::query(self.sql(text)).bind(workflow).bind(&hash).bind(reference.to_string());
        let text = text.bind(Value::from(parameters.clone()).to_string()).bind(&id).bind(owner).bind(attempts + 1);
        text.execute(&mut *change).await?;
        self.append(&mut change, workflow, &hash, State::Running).await?;
        change.commit().await?;
        self.find(&id).await
    }

    /// What upstream's table says last.
    async fn upstreams(
        &self,
        change: &mut Transaction<'static, Any>,
        workflow: &str,
        hash: &str,
    ) -> Result<Option<State>> {
        let text = "SELECT CAST(state AS TEXT) AS state FROM workflow_runs WHERE workflow_name = $1 AND parameters_hash = $2 \
                    ORDER BY timestamp DESC, id DESC LIMIT 1";
        let row = sqlx::query(text).bind(workflow).bind(hash).fetch_optional(&mut **change).await?;
        row.map(|row| Ok(State::of(row.try_get("state")?))).transpose()
    }

    /// Says that a run lives. False: it is ours no more.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn beat(&self, run: &str, owner: &str) -> Result<bool> {
        let text = "UPDATE autoflow_runs SET heartbeat = {now} WHERE run = $1 AND owner = $2 AND state = 'running'";
        let done = sqlx::query(self.sql(text)).bind(run).bind(owner).execute(&self.pool).await?;
        Ok(done.rows_affected() == 1)
    }

    /// Writes down how an attempt ended; its files are not in their place yet. False: it was ours no more, and its files are to go.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn finish(&self, run: &Run, owner: &str, end: &End, retry: Retry) -> Result<bool> {
        let state = if end.success { State::Success } else { State::Failed };
        let wait = if end.success { None } else { retry.after(run.attempts) };
        let mut change = self.change().await?;
        let text = "UPDATE autoflow_runs SET state = $3, ended = {now}, error = $4, files = $5, published = 0, \
                    next_try = CASE WHEN $6 < 0 THEN 0 ELSE {now} + $6 END WHERE run = $1 AND owner = $2 AND state = 'running'";
        let done = sqlx::query(self.sql(text)).bind(&run.id).bind(owner).bind(state.name()).bind(&end.error);
        let done = done
            .bind(Value::from(end.files.clone()).to_string())
            .bind(wait.unwrap_or(-1))
            .execute(&mut *change)
            .await?;
        if done.rows_affected() != 1 {
            return Ok(false);
        }
        self.append(&mut change, &run.workflow, &run.hash, state).await?;
        change.commit().await?;
        Ok(true)
    }

    /// These files of its are in their place; and what there is to say of the others.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn published(&self, run: &str, files: &[String], note: &str) -> Result<()> {
        let text = "UPDATE autoflow_runs SET published = 1, files = $2, error = CASE WHEN $3 = '' THEN error ELSE $3 END WHERE run = $1";
        let text = sqlx::query(text).bind(run).bind(Value::from(files.to_vec()).to_string()).bind(note);
        text.execute(&self.pool).await?;
        Ok(())
    }

    /// The latest attempt at a run, where it has ended and its files are not in their place yet.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn unplaced(&self, workflow: &str, parameters: &Map<String, Value>) -> Result<Option<Run>> {
        let text = "SELECT * FROM autoflow_runs WHERE workflow_name = $1 AND parameters_hash = $2 AND state <> 'running' AND published = 0";
        let row = sqlx::query(text).bind(workflow).bind(hash(parameters)).fetch_optional(&self.pool).await?;
        row.as_ref().map(shown).transpose()
    }

    /// Frees the runs of the dead: they are tried again at once, unless that was their last attempt.
    /// `counts`: whether the attempt was one. Returns how many.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn reap(&self, dead: Dead<'_>, why: &str, counts: bool, retry: Retry) -> Result<usize> {
        let mut change = self.change().await?;
        let text =
            "SELECT run, workflow_name, parameters_hash, attempts FROM autoflow_runs WHERE state = 'running' AND ";
        let rows = match dead {
            Dead::Owner(owner) => {
                let text = self.sql(&format!("{text} owner = $1"));
                sqlx::query(text).bind(owner).fetch_all(&mut *change).await?
            }
            Dead::Silent { .. } => {
                let text = self.sql(&format!("{text} heartbeat < {{now}} - $1"));
                sqlx::query(text).bind(STALE).fetch_all(&mut *change).await?
            }
        };
        let mut reaped = 0;
        for row in &rows {
            let (run, workflow): (String, String) = (row.try_get("run")?, row.try_get("workflow_name")?);
            if matches!(dead, Dead::Silent { but } if but.contains(&run)) {
                continue;
            }
            reaped += 1;
            let (hash, attempts): (String, i64) = (row.try_get("parameters_hash")?, row.try_get("attempts")?);
            let attempts = if counts { attempts } else { attempts - 1 };
            let next = if attempts >= retry.most { "0" } else { "{now}" };
            let text = "UPDATE autoflow_runs SET state = 'failed', ended = {now}, error = $2, attempts = $3, next_try = NEXT WHERE run = $1";
            let text = sqlx::query(self.sql(&text.replace("NEXT", next))).bind(&run).bind(why).bind(attempts);
            text.execute(&mut *change).await?;
            self.append(&mut change, &workflow, &hash, State::Failed).await?;
        }
        change.commit().await?;
        Ok(reaped)
    }

    /// What is known of an attempt, unless another has taken its place.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn find(&self, run: &str) -> Result<Option<Run>> {
        let row =
            sqlx::query("SELECT * FROM autoflow_runs WHERE run = $1").bind(run).fetch_optional(&self.pool).await?;
        row.as_ref().map(shown).transpose()
    }

    /// The latest runs.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn latest(&self, most: i64) -> Result<Vec<Run>> {
        let text = "SELECT * FROM autoflow_runs ORDER BY started DESC, workflow_name, reference_date DESC LIMIT $1";
        sqlx::query(text).bind(most).fetch_all(&self.pool).await?.iter().map(shown).collect()
    }

    /// What failed and is to be tried again by now, once its files are in their place.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn due_again(&self) -> Result<Vec<Run>> {
        let text = "SELECT * FROM autoflow_runs WHERE state = 'failed' AND next_try > 0 AND next_try <= {now} \
                    AND (published = 1 OR ended <= {now} - $1) ORDER BY next_try LIMIT 100";
        sqlx::query(self.sql(text)).bind(UNPLACED).fetch_all(&self.pool).await?.iter().map(shown).collect()
    }

    /// Adds to upstream's table.
    async fn append(
        &self,
        change: &mut Transaction<'static, Any>,
        workflow: &str,
        hash: &str,
        state: State,
    ) -> Result<()> {
        let text = "INSERT INTO workflow_runs (workflow_name, parameters_hash, state, timestamp) VALUES ($1, $2, {state}, {stamp})";
        sqlx::query(self.sql(text)).bind(workflow).bind(hash).bind(state.name()).execute(&mut **change).await?;
        Ok(())
    }
}

fn shown(row: &AnyRow) -> Result<Run> {
    let json = |name: &str| Ok::<Value, Error>(serde_json::from_str(row.try_get(name)?).unwrap_or_default());
    let files = json("files")?;
    Ok(Run {
        workflow: row.try_get("workflow_name")?,
        hash: row.try_get("parameters_hash")?,
        reference: row.try_get("reference_date")?,
        parameters: json("parameters")?.as_object().cloned().unwrap_or_default(),
        state: State::of(row.try_get("state")?),
        id: row.try_get("run")?,
        attempts: row.try_get("attempts")?,
        next_try: row.try_get("next_try")?,
        started: row.try_get("started")?,
        ended: row.try_get("ended")?,
        error: row.try_get("error")?,
        files: files.as_array().into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect(),
        published: row.try_get::<i64, _>("published")? != 0,
    })
}
