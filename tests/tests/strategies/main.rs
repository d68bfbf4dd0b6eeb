//! Every strategy of holding stock, on two inventory processes that share a database, and with the real lock servers.
//!
//! Where a lock server is not installed its tests say SKIPPED and pass; `scripts/setup.sh` installs both.
mod conformance;
mod locks;
mod shop;
mod waitlist;
