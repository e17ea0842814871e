//! One certificate: an account, an order, the proof that the name is ours, and what the authority signs.

use std::error::Error as StdError;
use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use https::{Client, Place};
use instant_acme::{
    Account, AuthorizationStatus, BodyWrapper, BytesResponse, ChallengeType, Error, HttpClient, Identifier, NewAccount,
    NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use web::{Pair, Tls};

use super::kept::Kept;
use super::{Options, Trusted};

/// Longest wait for one answer, and for the authority to make up its mind.
const PATIENCE: Duration = Duration::from_secs(30);
const DECISION: Duration = Duration::from_secs(180);

/// The most that it may answer, in bytes.
const MOST: usize = 1 << 20;

/// Gets a certificate with its key.
///
/// # Errors
/// In words: why there is none.
pub async fn order(options: &Options, kept: &Kept, tls: &Tls) -> Result<Pair, String> {
    let account = account(options, kept).await?;
    let ordered = from_order(&account, options, tls).await;
    // It has asked, or never will.
    let _ = tls.answer(&options.domain, None);
    if let Err(Error::Api(problem)) = &ordered
        && problem.r#type.as_deref().is_some_and(|kind| kind.ends_with(":accountDoesNotExist"))
    {
        kept.forget_account()?;
    }
    ordered.map_err(|error| say::in_full(&error))
}

async fn account(options: &Options, kept: &Kept) -> Result<Account, String> {
    let builder = || Account::builder_with_http(Box::new(Http(options.trusted.clone())));
    if let Some(credentials) = kept.account(options) {
        return builder().from_credentials(credentials).await.map_err(|error| say::in_full(&error));
    }
    let contact = options.email.as_ref().map(|email| format!("mailto:{email}"));
    let contact: Vec<&str> = contact.iter().map(String::as_str).collect();
    let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
    let made = builder().create(&new, options.directory.clone(), None).await;
    let (account, credentials) = made.map_err(|error| say::in_full(&error))?;
    kept.keep_account(options, credentials)?;
    Ok(account)
}

async fn from_order(account: &Account, options: &Options, tls: &Tls) -> Result<Pair, Error> {
    let names = [Identifier::Dns(options.domain.clone())];
    let mut order = account.new_order(&NewOrder::new(&names)).await?;
    let mut authorizations = order.authorizations();
    while let Some(authorization) = authorizations.next().await {
        let mut authorization = authorization?;
        if authorization.status == AuthorizationStatus::Valid {
            continue;
        }
        let kind = ChallengeType::TlsAlpn01;
        let mut challenge =
            authorization.challenge(kind).ok_or(Error::Str("the authority does not ask by tls-alpn-01"))?;
        let answer = answer(&options.domain, challenge.key_authorization().digest().as_ref()).map_err(other)?;
        tls.answer(&options.domain, Some(&answer)).map_err(other)?;
        challenge.set_ready().await?;
    }
    let patience = RetryPolicy::new().timeout(DECISION);
    if order.poll_ready(&patience).await? != OrderStatus::Ready {
        return Err(Error::Str("the authority does not believe that the name is ours"));
    }
    let key = order.finalize().await?;
    let certificate = order.poll_certificate(&patience).await?;
    Ok(Pair { certificate: certificate.into(), key: key.into() })
}

/// The certificate by which the question is answered.
fn answer(domain: &str, digest: &[u8]) -> Result<Pair, rcgen::Error> {
    let mut params = CertificateParams::new(vec![domain.to_owned()])?;
    params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok(Pair { certificate: certificate.pem().into(), key: key.serialize_pem().into() })
}

fn other(error: impl StdError + Send + Sync + 'static) -> Error {
    Error::Other(Box::new(error))
}

/// HTTPS to the authority, whose certificate one of these has issued.
struct Http(Trusted);

impl HttpClient for Http {
    fn request(
        &self,
        request: Request<BodyWrapper<Bytes>>,
    ) -> Pin<Box<dyn Future<Output = Result<BytesResponse, Error>> + Send>> {
        let trusted = self.0.clone();
        Box::pin(async move {
            let wrong = |why: String| Error::Other(why.into());
            let place = Place::parse(&request.uri().to_string()).map_err(wrong)?;
            let client = Client::issued(&*place.host, place.port, &trusted().map_err(wrong)?).map_err(wrong)?;
            let (mut head, body) = request.into_parts();
            head.uri = place.path.parse()?;
            let Ok(body) = body.collect().await;
            let asked = client.send(Request::from_parts(head, body.to_bytes()), MOST);
            let answer = tokio::time::timeout(PATIENCE, asked).await;
            let answer = answer.map_err(|_| wrong(format!("no answer within {} s", PATIENCE.as_secs())))?;
            let (head, body) = answer.map_err(other)?.into_parts();
            Ok(http::Response::from_parts(head, Full::new(body)).into())
        })
    }
}
