//! When days were asked for last, by whichever AutoFlow, and what came of it.

use sqlx::Row as _;

use super::{Result, Store};

/// What is said of days that were never asked for.
pub const NOT_YET: &str = "not yet";

impl Store {
    /// What came before the first AutoFlow on this database counts as asked for: its first look is when the schedule says so.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn begin_looking(&self) -> Result<()> {
        let text = "INSERT INTO autoflow_sensor (id, looked, said) VALUES (1, {now}, $1) ON CONFLICT (id) DO NOTHING";
        sqlx::query(self.sql(text)).bind(NOT_YET).execute(&self.pool).await?;
        Ok(())
    }

    /// Writes down what came of asking for days. What went wrong does not count as asked for.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn looked(&self, said: &str, well: bool) -> Result<()> {
        let text = match well {
            true => "UPDATE autoflow_sensor SET said = $1, looked = {now} WHERE id = 1",
            false => "UPDATE autoflow_sensor SET said = $1 WHERE id = 1",
        };
        sqlx::query(self.sql(text)).bind(said).execute(&self.pool).await?;
        Ok(())
    }

    /// When that was last, and what came of it.
    ///
    /// # Errors
    /// [`Error`].
    pub async fn last_look(&self) -> Result<Option<(i64, String)>> {
        let row =
            sqlx::query("SELECT looked, said FROM autoflow_sensor WHERE id = 1").fetch_optional(&self.pool).await?;
        row.map(|row| Ok((row.try_get("looked")?, row.try_get("said")?))).transpose()
    }
}
