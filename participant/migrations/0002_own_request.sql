-- Requests to the service's own RPCs that were carried out, so that a repeat changes nothing more.
CREATE TABLE own_request (
    client_id   text NOT NULL,
    request_id  text NOT NULL,
    parameters  text NOT NULL,
    create_time timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (client_id, request_id)
);
CREATE INDEX own_request_by_age ON own_request (create_time);
