//! Notices by mail. The only place that knows lettre.
//!
//! The `Message-ID` is made of the notice's id, so that mailboxes can drop a second copy.

use std::fmt;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use lettre::message::Mailbox;
use lettre::message::header::ContentType;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Tls, TlsParameters};
use lettre::{Address, AsyncSmtpTransport, AsyncTransport as _, Message, Tokio1Executor};

use tokio::sync::Semaphore;

use super::{Notice, Sink, SinkError};
use crate::config::{Smtp, SmtpTls};

/// Mails that are handed over at once; more wait their turn.
const MAILS_MAX: usize = 64;

/// Mail settings that cannot be used.
#[derive(Debug)]
pub struct SmtpSetupError(String);

impl fmt::Display for SmtpSetupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for SmtpSetupError {}

/// Sends notices by mail.
#[derive(Debug)]
pub struct SmtpSink {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    mails: Semaphore,
}

impl SmtpSink {
    /// Prepares the way to the mail server; connects only when there is something to send.
    ///
    /// # Errors
    /// The sender is not a mail address, or the host cannot be a TLS name.
    pub fn new(config: &Smtp) -> Result<SmtpSink, SmtpSetupError> {
        let from = config.from.as_deref().unwrap_or_default().parse();
        let from = from.map_err(|_| SmtpSetupError("from is not a mail address".to_owned()))?;
        let parameters = || TlsParameters::new(config.host.clone()).map_err(|error| SmtpSetupError(error.to_string()));
        let tls = match config.tls {
            SmtpTls::None => Tls::None,
            SmtpTls::Starttls => Tls::Required(parameters()?),
            SmtpTls::Tls => Tls::Wrapper(parameters()?),
        };
        // "dangerous" is the library's word for choosing the protection oneself
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(config.host.clone())
            .port(config.port)
            .tls(tls)
            .timeout(Some(config.timeout));
        if let (Some(username), Some(password)) = (&config.username, &config.password) {
            builder = builder.credentials(Credentials::new(username.clone(), password.expose().to_owned()));
        }
        Ok(SmtpSink { transport: builder.build(), from, mails: Semaphore::new(MAILS_MAX) })
    }

    fn message(&self, notice: &Notice) -> Result<Message, SinkError> {
        let to: Address = notice.to.parse().map_err(|_| SinkError::permanent("the recipient is not a mail address"))?;
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(notice.subject.clone())
            .message_id(Some(format!("<{}@{}>", notice.id, self.from.email.domain())))
            .header(ContentType::TEXT_PLAIN)
            .body(notice.text.clone())
            .map_err(|error| SinkError::permanent(error.to_string()))
    }
}

impl Sink for SmtpSink {
    fn deliver<'a>(&'a self, notice: &'a Notice) -> BoxFuture<'a, Result<(), SinkError>> {
        async move {
            let message = self.message(notice)?;
            let turn = self.mails.acquire().await;
            let _turn = turn.map_err(|_| SinkError::retryable("no more mails are sent"))?;
            self.transport.send(message).await.map(|_| ()).map_err(|error| judge(&error))
        }
        .boxed()
    }
}

/// A mail server's "never" (5yz) is final, unless it is about us and not about this mail: 530 to 538 ask for another
/// login, which an operator can mend.
fn judge(error: &lettre::transport::smtp::Error) -> SinkError {
    let code = error.status().map(u16::from);
    let is_about_login = code.is_some_and(|code| (530..=538).contains(&code));
    let is_retryable = !error.is_permanent() || is_about_login;
    SinkError { is_retryable, reason: error.to_string() }
}
