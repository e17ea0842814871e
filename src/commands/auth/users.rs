//! `flowkit auth user`.

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use super::client::Client;
use super::roles::RoleName;
use super::{Failure, Place, text};
use say::tell;

/// Users and machines
#[derive(Subcommand)]
pub enum User {
    Create(Create),
    /// List all users
    List,
    /// Shut a user out: sessions end, tokens are revoked
    Disable(Named),
    /// Let a disabled user in again
    Enable(Named),
    /// Make a new link by which a user chooses a password
    Invite(Named),
    /// Remove a user; tokens are revoked
    Remove(Named),
}

/// Add a user
///
/// Prints the link by which they choose a password, once, within a week: send it to them. A machine has no password: make it a key with
/// `flowkit auth key make`.
#[derive(Args)]
pub struct Create {
    /// Their name, which tokens carry
    name: String,
    /// A role that they have, as ROLE, or ROLE@SERVER where there are several servers; may be given several times
    #[arg(long = "role", value_name = "ROLE[@SERVER]")]
    roles: Vec<RoleName>,
    /// It is a program, which never signs in
    #[arg(long, conflicts_with = "require_two_factor")]
    machine: bool,
    /// They come by the OpenID Connect provider, which knows them by this name: there is no link, and no password
    #[arg(long, conflicts_with_all = ["machine", "admin"])]
    by_provider: bool,
    /// They look after users, servers and roles
    #[arg(long)]
    admin: bool,
    /// They can do nothing before they have set up two-factor authentication
    #[arg(long)]
    require_two_factor: bool,
}

/// Which user.
#[derive(Args)]
pub struct Named {
    /// Their name
    name: String,
}

impl User {
    pub async fn run(self, place: &Place) -> Result<(), Failure> {
        let mut client = Client::new(place)?;
        match self {
            User::Create(args) => args.run(&mut client).await,
            User::List => list(&mut client, place).await,
            User::Disable(args) => args.set(&mut client, true).await,
            User::Enable(args) => args.set(&mut client, false).await,
            User::Invite(args) => {
                let id = args.id(&mut client).await?;
                invite(&mut client, id).await
            }
            User::Remove(args) => {
                let id = args.id(&mut client).await?;
                client.delete(&format!("/admin/users/{id}")).await?;
                tell!("removed {}", args.name);
                Ok(())
            }
        }
    }
}

impl Create {
    async fn run(self, client: &mut Client) -> Result<(), Failure> {
        let mut roles = Vec::new();
        for role in &self.roles {
            roles.push(role.find(client).await?.id);
        }
        let body = json!({
            "username": self.name, "invite": !self.machine, "is_machine": self.machine, "is_admin": self.admin,
            "require_two_factor": self.require_two_factor, "roles": roles,
        });
        let made = client.post("/admin/users", &body).await?;
        let id = client.number("/admin/users", &made, "id")?;
        tell!("added {}", self.name);
        if self.machine || self.by_provider { Ok(()) } else { invite(client, id).await }
    }
}

/// Makes a link and prints it.
async fn invite(client: &mut Client, id: i64) -> Result<(), Failure> {
    let path = format!("/admin/users/{id}/invite");
    let link = client.post(&path, &json!({})).await?;
    let (place, ends) = (client.text(&path, &link, "path")?, text(&link["expires"]));
    say::product(format!("{}{place}\n", client.at()).as_bytes());
    tell!("it is good once, until {ends}; where people reach FlowAuth by another name, put that into the link");
    Ok(())
}

async fn list(client: &mut Client, place: &Place) -> Result<(), Failure> {
    let all = client.get("/admin/users").await?;
    let kind = |user: &Value| if user["is_machine"] == true { "machine" } else { "person" }.to_owned();
    place.show(&all, ["NAME", "KIND", "ADMINISTRATOR", "DISABLED"], |user| {
        [text(&user["name"]), kind(user), text(&user["is_admin"]), text(&user["is_disabled"])]
    });
    Ok(())
}

impl Named {
    async fn id(&self, client: &mut Client) -> Result<i64, Failure> {
        Ok(client.named("user", "/admin/users", &self.name).await?)
    }

    async fn set(&self, client: &mut Client, is_disabled: bool) -> Result<(), Failure> {
        let id = self.id(client).await?;
        client.patch(&format!("/admin/users/{id}"), &json!({ "is_disabled": is_disabled })).await?;
        tell!("{} {}", if is_disabled { "disabled" } else { "enabled" }, self.name);
        Ok(())
    }
}
