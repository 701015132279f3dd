//! Every route of the API on one screen: path, method, handler, who may call, and the codes it may answer with.
//!
//! This table is the only source: the server, the documents (`/openapi.json`) and the names in the metrics are made from it.
//! Codes that every route of a kind shares (who are you, limits, overload) are added by [`super::docs`].

use std::future::ready;

use actix_web::HttpResponse;
use actix_web::guard;
use actix_web::http::Method;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::middleware::from_fn;
use actix_web::web;
use utoipa::OpenApi;

use super::problem::Code::*;
use super::problem::{Code, FieldError, Problem, ProblemBody};
use super::{around, audit, cluster, docs, doors, events, holds, house, ledger, live, ops, orders, public};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    /// Everybody.
    Open,
    /// Customers.
    Buyer,
    /// Organizers.
    Seller,
    /// Customers for their own things, organizers for all.
    Viewer,
}

/// One method of one path.
#[derive(Clone, Copy, Debug)]
pub struct Route {
    /// The path with its parameters in braces.
    pub path: &'static str,
    /// The method in lower case.
    pub method: &'static str,
    /// The operation's unique name in the documents.
    pub operation: &'static str,
    /// Who may call it.
    pub who: Who,
    /// What it may be refused with, besides what all routes of its kind share.
    pub codes: &'static [Code],
}

/// Which path of the table a request was for, found by the router: an index into [`PATHS`]. In the request's app data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PathIx(pub usize);

macro_rules! routes {
    ($($path:literal { $($method:ident $module:ident :: $handler:ident, $who:ident, [$($code:ident),*];)+ })+) => {
        /// All paths, in the order of the table.
        pub const PATHS: &[&str] = &[$($path),+];

        /// All routes, in the order of the table.
        pub const ROUTES: &[Route] = &[$($(Route {
            path: $path,
            method: stringify!($method),
            operation: concat!(stringify!($module), "_", stringify!($handler)),
            who: Who::$who,
            codes: &[$($code),*],
        }),+),+];

        /// Registers all routes.
        pub(super) fn configure(app: &mut web::ServiceConfig) {
            let mut paths = 0..;
            $(
                app.service(
                    web::resource($path)
                        .app_data(PathIx(paths.next().unwrap_or_default()))
                        $(.route($method().to($module::$handler).wrap(from_fn(around::survive))))+
                        .default_service(web::to(|| ready(not_allowed(&[$(stringify!($method)),+])))),
                );
            )+
        }

        /// What the handlers say about themselves; [`super::docs`] completes it.
        #[derive(OpenApi)]
        #[openapi(paths($($($module::$handler),+),+), components(schemas(ProblemBody, FieldError)))]
        pub(super) struct Described;
    };
}

routes! {
    "/v1/events" {
        get public::list, Open, [InvalidRequest, BadRequest, NotAcceptable];
        post events::create, Seller, [EventExists];
    }
    "/v1/events/{event}" {
        get public::event, Open, [UnknownEvent, NotAcceptable];
        patch events::change, Seller, [UnknownEvent, EventClosed];
    }
    "/v1/events/{event}/availability" { get public::availability, Open, [UnknownEvent, NotAcceptable]; }
    "/v1/events/{event}/blocks/{block}/layout" {
        get public::layout, Open, [UnknownEvent, UnknownBlock, NotAcceptable];
    }
    "/v1/events/{event}/blocks/{block}/seats" {
        get public::seats, Open, [UnknownEvent, UnknownBlock, NotAcceptable, Unavailable];
    }
    "/v1/events/{event}/live" {
        get live::live, Open, [UnknownEvent, UnknownBlock, BadRequest, Overloaded, NotReady];
    }
    "/v1/events/{event}/open" { post events::open, Seller, [UnknownEvent, EventClosed]; }
    "/v1/events/{event}/pause" { post events::pause, Seller, [UnknownEvent, EventClosed]; }
    "/v1/events/{event}/close" { post events::close, Seller, [UnknownEvent, EventClosed]; }
    "/v1/events/{event}/blocks/{block}/block-seats" {
        post house::block, Seller, [UnknownEvent, UnknownBlock, UnknownSeat, SeatTaken, SoldOut, WrongKind];
    }
    "/v1/events/{event}/blocks/{block}/unblock-seats" {
        post house::unblock, Seller, [UnknownEvent, UnknownBlock, UnknownSeat, NotBlocked, WrongKind];
    }
    "/v1/events/{event}/ledger" { get ledger::show, Seller, [UnknownEvent]; }
    "/v1/events/{event}/orders" { get orders::list_event, Seller, [UnknownEvent, InvalidRequest, BadRequest]; }
    "/v1/events/{event}/audit" { get audit::show, Seller, [UnknownEvent]; }
    "/v1/events/{event}/holds" {
        post holds::create, Buyer, [
            UnknownEvent, UnknownBlock, UnknownSeat, SeatTaken, SoldOut, OrphanSeat, TooManySeats, CustomerLimit, NotOnSale,
            WrongKind
        ];
    }
    "/v1/holds/{hold}" {
        get holds::show, Buyer, [UnknownHold];
        delete holds::release, Buyer, [UnknownHold, HoldInOrder];
    }
    "/v1/orders" {
        get orders::list, Buyer, [InvalidRequest, BadRequest];
        post orders::place, Buyer, [
            UnknownHold, HoldExpired, HoldReleased, HoldInOrder, MixedEvents, CustomerLimit
        ];
    }
    "/v1/orders/{order}" { get orders::show, Viewer, [UnknownOrder]; }
    "/v1/orders/{order}/payment" {
        post orders::pay, Buyer, [UnknownOrder, OrderState, PaymentInProgress, HoldExpired];
    }
    "/v1/orders/{order}/cancel" { post orders::cancel, Buyer, [UnknownOrder, OrderState, PaymentInProgress]; }
    "/v1/orders/{order}/refund" { post orders::refund, Seller, [UnknownOrder, OrderState, PaymentInProgress]; }
    "/v1/tickets/check-in" { post doors::check_in, Seller, [TicketInvalid, AlreadyCheckedIn, TicketVoid]; }
    "/v1/keys" { get doors::keys, Open, []; }
    "/v1/cluster" { get cluster::show, Seller, []; }
    "/healthz" { get ops::healthz, Open, []; }
    "/readyz" { get ops::readyz, Open, [NotReady]; }
    "/metrics" { get ops::metrics, Open, []; }
    "/openapi.json" { get docs::openapi, Open, []; }
    "/docs" { get docs::docs, Open, []; }
    "/docs/errors" { get docs::errors, Open, []; }
    "/" { get ops::root, Open, []; }
}

/// `GET` and, because every resource that can be read has it, `HEAD`.
fn get() -> actix_web::Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

fn post() -> actix_web::Route {
    web::post()
}

fn patch() -> actix_web::Route {
    web::patch()
}

fn delete() -> actix_web::Route {
    web::delete()
}

fn not_allowed(methods: &[&str]) -> Result<HttpResponse, Problem> {
    let mut allowed: Vec<String> = methods.iter().map(|method| method.to_uppercase()).collect();
    if allowed.iter().any(|method| method == Method::GET.as_str()) {
        allowed.push(Method::HEAD.to_string());
    }
    let allow = HeaderValue::try_from(allowed.join(", ")).unwrap_or(HeaderValue::from_static("GET"));
    Err(Problem::from(Code::MethodNotAllowed).header(ALLOW, allow))
}
