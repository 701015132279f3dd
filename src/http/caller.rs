//! Who is calling, as extractors: [`Buyer`], [`Seller`], or [`Viewer`] for routes that serve both.
//!
//! A customer who changes something is counted against the customer's limit here, because only here the customer is known.

use std::borrow::Cow;
use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::header::AUTHORIZATION;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpMessage, HttpRequest};
use actors::ids::Customer;

use super::State;
use super::limits::Left;
use super::problem::{Code, Problem};
use crate::auth::{AuthError, Caller, Organizer};
use crate::clock;

/// A customer. 401 for nobody, 403 `customer_required` for an organizer.
#[derive(Clone, Debug)]
pub struct Buyer(pub Customer);

/// An organizer. 401 for nobody, 403 `organizer_required` for a customer.
#[derive(Clone, Copy, Debug)]
pub struct Seller(pub Organizer);

/// Either of both.
#[derive(Clone, Debug)]
pub enum Viewer {
    /// Sees what is the customer's own.
    Customer(Customer),
    /// Sees everything.
    Organizer(Organizer),
}

/// Whose idempotency keys these are.
pub(super) trait Principal {
    /// A kind of callers, and a name that no other of that kind has.
    fn principal(&self) -> (&'static str, Cow<'_, str>);
}

impl Principal for Buyer {
    fn principal(&self) -> (&'static str, Cow<'_, str>) {
        ("customer", self.0.as_str().into())
    }
}

impl Principal for Seller {
    fn principal(&self) -> (&'static str, Cow<'_, str>) {
        ("organizer", self.0.key.to_string().into())
    }
}

impl Viewer {
    /// Whose things may be seen; `None`: everybody's.
    pub(super) fn only(&self) -> Option<Customer> {
        match self {
            Viewer::Customer(customer) => Some(customer.clone()),
            Viewer::Organizer(_) => None,
        }
    }
}

fn identify(request: &HttpRequest) -> Result<Caller, Problem> {
    let state = request.app_data::<Data<State>>().ok_or(Code::Internal)?;
    let header = match request.headers().get(AUTHORIZATION) {
        Some(value) => Some(value.to_str().map_err(|_| AuthError::Malformed)?),
        None => None,
    };
    let caller = caller(state, header)?;
    if !request.method().is_safe()
        && let Some(left) = counted(state, &caller)?
    {
        request.extensions_mut().insert::<Left>(left);
    }
    Ok(caller)
}

/// Who sent this `Authorization` header.
///
/// # Errors
/// [`Code::Unauthenticated`].
pub(super) fn caller(state: &State, authorization: Option<&str>) -> Result<Caller, Problem> {
    let caller = state.auth.identify(authorization, clock::now().0 / 1000).inspect_err(|error| {
        state.metrics.auth_failures.of(error.word()).inc();
    })?;
    Ok(caller)
}

/// Counts a request that changes something against its customer's limit. `None`: there is no limit.
///
/// # Errors
/// [`Code::RateLimited`].
pub(super) fn counted(state: &State, caller: &Caller) -> Result<Option<Left>, Problem> {
    match caller {
        Caller::Customer(verified) => state.limits.customer(&verified.customer).inspect_err(|_| {
            state.metrics.rate_limited.of("customer").inc();
        }),
        Caller::Organizer(_) => Ok(None),
    }
}

impl From<Caller> for Viewer {
    fn from(caller: Caller) -> Self {
        match caller {
            Caller::Customer(verified) => Viewer::Customer(Customer::from(verified.customer.as_str())),
            Caller::Organizer(organizer) => Viewer::Organizer(organizer),
        }
    }
}

impl TryFrom<Caller> for Buyer {
    type Error = Problem;

    fn try_from(caller: Caller) -> Result<Self, Problem> {
        match caller {
            Caller::Customer(verified) => Ok(Buyer(Customer::from(verified.customer.as_str()))),
            Caller::Organizer(_) => Err(Code::CustomerRequired.into()),
        }
    }
}

impl FromRequest for Viewer {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identify(request).map(Viewer::from))
    }
}

impl FromRequest for Buyer {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identify(request).and_then(Buyer::try_from))
    }
}

impl FromRequest for Seller {
    type Error = Problem;
    type Future = Ready<Result<Self, Problem>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        ready(identify(request).and_then(|caller| match caller {
            Caller::Organizer(organizer) => Ok(Seller(organizer)),
            Caller::Customer(_) => Err(Code::OrganizerRequired.into()),
        }))
    }
}
