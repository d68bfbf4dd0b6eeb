//! The conformance kit on participants that keep the rules: Assent's own services, and the one in Python.
mod own_services;
mod python;
