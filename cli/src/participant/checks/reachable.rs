//! The participant answers, and does something; without it nothing else can be checked.
use proto::assent::transaction::v1::AuditRequest;
use tonic::{Code, Request};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::{v1, v1alpha};

use crate::participant::books::Books;
use crate::participant::kit::{Kit, told};
use crate::participant::oracle::Message::Prepare;
use crate::participant::run::{Check, Group, Outcome};
use crate::participant::stop::Stop;

const SERVICE: &str = "assent.transaction.v1.ParticipantService";

/// The group.
pub const GROUP: Group = Group {
    title: "Is it there",
    checks: &[
        Check {
            title: "PREPARE of the branch that it takes is voted yes, and holds something",
            why: "the rest of the checks needs a branch that is taken every time",
            run: |kit| {
                Box::pin(async move {
                    let mut probe = kit.probe();
                    kit.send(Prepare, &mut probe).await?;
                    kit.stands(&probe).await
                })
            },
        },
        Check {
            title: "what is held and taken can be seen",
            why: "figures that can't be read can't be held against the branches",
            run: |kit| {
                Box::pin(async move {
                    match kit.plan.books {
                        Books::Unseen => Err(Stop::skip("only its log is looked at: give --books-command")),
                        _ => kit.figures().await.map(|_| ()),
                    }
                })
            },
        },
        Check {
            title: "gRPC health says SERVING (a convenience)",
            why: "`assent dev`, containers and load balancers ask it whether the service is up",
            run: |kit| Box::pin(health(kit)),
        },
        Check {
            title: "gRPC reflection lists ParticipantService (a convenience)",
            why: "an operator's tools find the service by it",
            run: |kit| Box::pin(reflection(kit)),
        },
        Check {
            title: "Audit finds nothing wrong, where it is implemented",
            why: "the participant itself says that its books don't fit its log",
            run: |kit| Box::pin(audit(kit)),
        },
    ],
};

async fn health(kit: &Kit) -> Outcome {
    let mut client = HealthClient::new(kit.channel.clone());
    let answer = kit.within(client.check(HealthCheckRequest::default())).await;
    match answer.map(|answer| answer.into_inner().status()) {
        Ok(ServingStatus::Serving) => Ok(()),
        Ok(status) => Err(kit.broken("SERVING", status.as_str_name())),
        Err(status) => Err(Stop::skip(format!("no health service: {}", told(&status)))),
    }
}

/// Asks for the names of the services, in one version of reflection.
macro_rules! service_names {
    ($kit:expr, $version:ident) => {{
        use $version::server_reflection_client::ServerReflectionClient;
        use $version::server_reflection_request::MessageRequest;
        use $version::server_reflection_response::MessageResponse;
        let mut client = ServerReflectionClient::new($kit.channel.clone());
        let list = $version::ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let asked = async move {
            let answers = client.server_reflection_info(Request::new(futures::stream::iter([list]))).await?;
            answers.into_inner().message().await
        };
        $kit.within(asked).await.map(|answer| match answer.and_then(|answer| answer.message_response) {
            Some(MessageResponse::ListServicesResponse(list)) => list.service.into_iter().map(|it| it.name).collect(),
            _ => Vec::new(),
        })
    }};
}

async fn reflection(kit: &Kit) -> Outcome {
    let names: Result<Vec<String>, tonic::Status> = match service_names!(kit, v1) {
        Err(status) if status.code() == Code::Unimplemented => service_names!(kit, v1alpha),
        answer => answer,
    };
    match names {
        Ok(names) if names.iter().any(|name| name == SERVICE) => Ok(()),
        Ok(names) => Err(kit.broken(SERVICE, names.join(", "))),
        Err(status) => Err(Stop::skip(format!("no reflection: {}", told(&status)))),
    }
}

async fn audit(kit: &Kit) -> Outcome {
    let mut client = kit.client.clone();
    match kit.within(client.audit(AuditRequest {})).await {
        Ok(answer) => {
            let checks = answer.into_inner().checks;
            let wrong = checks.iter().flat_map(|check| {
                check.violations.iter().map(|one| format!("{}: {} {}", check.invariant, one.subject, one.detail))
            });
            let wrong: Vec<String> = wrong.collect();
            if wrong.is_empty() { Ok(()) } else { Err(kit.broken("no violations", wrong.join("; "))) }
        }
        Err(status) if status.code() == Code::Unimplemented => Err(Stop::skip("it does not audit itself")),
        Err(status) => Err(kit.broken("an answer to Audit, or UNIMPLEMENTED", told(&status))),
    }
}
