//! Every route of the API on one screen: path, method, handler, who may call, and the codes it may answer with.
//!
//! This table is the only source: the server, the documents (`/openapi.json`) and the names in the metrics are made from it.
//! Codes that every route of a kind shares (who are you, limits, overload) are added by [`super::docs`].

use actix_web::guard;
use actix_web::http::Method;
use actix_web::http::header::{ALLOW, HeaderValue};
use actix_web::web;
use utoipa::OpenApi;

use super::problem::{Code, Problem};
use super::{Code::*, ops};

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
                        $(.route($method().to($module::$handler)))+
                        .default_service(web::to(|| async { not_allowed(&[$(stringify!($method)),+]) })),
                );
            )+
        }

        /// What the handlers say about themselves; [`super::docs`] completes it.
        #[derive(OpenApi)]
        #[openapi(paths($($($module::$handler),+),+))]
        pub(super) struct Described;
    };
}

routes! {
    "/healthz" { get ops::healthz, Open, []; }
    "/readyz" { get ops::readyz, Open, [NotReady]; }
}

/// `GET` and, because every resource that can be read has it, `HEAD`.
fn get() -> actix_web::Route {
    web::route().guard(guard::Any(guard::Get()).or(guard::Head()))
}

fn not_allowed(methods: &[&str]) -> Problem {
    let mut allowed: Vec<String> = methods.iter().map(|method| method.to_uppercase()).collect();
    if allowed.iter().any(|method| method == Method::GET.as_str()) {
        allowed.push(Method::HEAD.to_string());
    }
    let allow = HeaderValue::try_from(allowed.join(", ")).unwrap_or(HeaderValue::from_static("GET"));
    Problem::from(Code::MethodNotAllowed).header(ALLOW, allow)
}
