//! `flowkit auth key`.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};
use serde_json::json;

use super::client::{Client, hand_over};
use super::{Failure, Place, text};
use say::tell;

/// Keys for programs
#[derive(Subcommand)]
pub enum Key {
    First(First),
    Make(Make),
    /// List everybody's keys, with when each was used last
    List,
    End(End),
}

/// Make a first key, as FlowAuth's first administrator
///
/// Signs in with FLOWAUTH_ADMIN_USER and FLOWAUTH_ADMIN_PASSWORD of the deployment, for as long as these are good and need no second factor; so
/// it takes whoever may read the deployment's secrets.
#[derive(Args)]
pub struct First {
    #[command(flatten)]
    wish: Wish,
}

/// Make a key of a machine's
#[derive(Args)]
pub struct Make {
    /// The machine: a user made with `flowkit auth user create --machine`
    machine: String,
    #[command(flatten)]
    wish: Wish,
}

/// What the key shall be.
#[derive(Args)]
struct Wish {
    /// What it is for
    #[arg(long, value_name = "NAME", default_value = "flowkit")]
    name: String,
    /// What it may
    #[arg(long, value_enum, value_name = "WHAT")]
    may: Option<May>,
    /// How long it lives
    #[arg(long, value_name = "DAYS", default_value_t = 90)]
    days: u32,
    /// Put the key into this file, which you alone can read, instead of printing it
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// End a key
#[derive(Args)]
pub struct End {
    /// Whose it is
    user: String,
    /// Its number
    id: i64,
}

#[derive(Clone, Copy, ValueEnum)]
enum May {
    /// Its user's own tokens
    Tokens,
    /// Look at what administrators see, and change nothing
    Read,
    /// Everything that an administrator does
    Administer,
}

impl Key {
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        match self {
            Key::First(args) => {
                let mut client = Client::administrator(place).await?;
                args.wish.make(&mut client, "/user/keys", May::Administer).await?;
                client.post("/signout", &json!({})).await?;
                Ok(())
            }
            Key::Make(args) => {
                let mut client = Client::new(place)?;
                let id = client.named("user", "/admin/users", &args.machine).await?;
                args.wish.make(&mut client, &format!("/admin/users/{id}/keys"), May::Tokens).await
            }
            Key::List => {
                let all = Client::new(place)?.get("/admin/keys").await?;
                place.show(&all, ["ID", "USER", "NAME", "MAY", "ENDS", "LAST USED"], |key| {
                    ["id", "username", "name", "may", "expires", "last_used"].map(|field| text(&key[field]))
                });
                Ok(())
            }
            Key::End(args) => {
                let mut client = Client::new(place)?;
                let user = client.named("user", "/admin/users", &args.user).await?;
                client.delete(&format!("/admin/users/{user}/keys/{}", args.id)).await?;
                tell!("ended");
                Ok(())
            }
        }
    }
}

impl Wish {
    async fn make(&self, client: &mut Client, path: &str, usual: May) -> Result<(), Failure> {
        let may = match self.may.unwrap_or(usual) {
            May::Tokens => "tokens",
            May::Read => "read",
            May::Administer => "administer",
        };
        let made = client.post(path, &json!({ "name": self.name, "may": may, "days": self.days })).await?;
        hand_over("key", client.text(path, &made, "key")?, self.out.as_deref())?;
        tell!("key {} may {may}, until {}", text(&made["id"]), text(&made["expires"]));
        Ok(())
    }
}
