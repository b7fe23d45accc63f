//! The interface described for programs: OpenAPI 3.1, the routes in their order and the shapes of `protocol::api`.
//!
//! The agents' WebSocket at `/v1/relay` is not in it: OpenAPI has no words for those.

use std::sync::LazyLock;

use crate::scheduler;
use axum::Json;
use canvass_protocol::api::COMMAND_STATES;
use canvass_protocol::limits;
use serde_json::{Map, Value, json};

/// What any request may be answered with.
const ALWAYS: [u16; 1] = [421];
/// What needs a session.
const SESSION: [u16; 3] = [401, 429, 500];
/// What has a body.
const BODY: [u16; 5] = [400, 408, 413, 415, 422];

static DOCUMENT: LazyLock<Value> = LazyLock::new(document);

/// `GET /v1/openapi.json`
pub async fn show() -> Json<&'static Value> {
    Json(&DOCUMENT)
}

fn document() -> Value {
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Canvass",
            "version": "1",
            "description": "Brings investigators' signed actions to agents and their signed answers back. What matters is signed by \
                investigators or agents; the server is believed in nothing.",
        },
        "security": [{ "session": [] }],
        "paths": paths(),
        "components": {
            "securitySchemes": {
                "session": { "type": "http", "scheme": "bearer", "description": "the token of `POST /v1/sessions`" },
            },
            "schemas": schemas(),
        },
    })
}

/// One method of one path.
struct Operation(Value);

impl Operation {
    /// Answers with a shape.
    fn get(summary: &str, schema: &Value) -> Operation {
        Operation::new(summary, 200, "application/json", schema).may_be(&SESSION)
    }

    fn post(summary: &str, status: u16, schema: &Value) -> Operation {
        Operation::new(summary, status, "application/json", schema).may_be(&SESSION)
    }

    /// Does something, and has nothing to say of it.
    fn done(summary: &str) -> Operation {
        Operation(json!({ "summary": summary, "responses": { "204": { "description": "done" } } }))
            .may_be(&SESSION)
            .may_be(&ALWAYS)
    }

    fn new(summary: &str, status: u16, media: &str, schema: &Value) -> Operation {
        let content = json!({ media: { "schema": schema } });
        let responses = json!({ status.to_string(): { "description": "as asked", "content": content } });
        Operation(json!({ "summary": summary, "responses": responses })).may_be(&ALWAYS)
    }

    /// For whoever comes.
    fn open(mut self) -> Operation {
        self.0["security"] = json!([]);
        self
    }

    /// Takes a body.
    fn takes(mut self, shape: &str) -> Operation {
        self.0["requestBody"] =
            json!({ "required": true, "content": { "application/json": { "schema": reference(shape) } } });
        self.may_be(&BODY)
    }

    /// Takes a body that is no JSON.
    fn takes_text(mut self, about: &str, bytes_max: usize) -> Operation {
        let schema = json!({ "type": "string", "maxLength": bytes_max, "description": about });
        self.0["requestBody"] = json!({ "required": true, "content": { "text/plain": { "schema": schema } } });
        self.may_be(&[400, 408, 413])
    }

    /// Is about one action, or one agent.
    fn of(mut self, schema: &Value, about: &str) -> Operation {
        let id = json!({ "name": "id", "in": "path", "required": true, "schema": schema, "description": about });
        self.0["parameters"] = json!([id]);
        self.may_be(&[400, 403, 404])
    }

    fn query(mut self, name: &str, schema: &Value, about: &str) -> Operation {
        let parameter = json!({ "name": name, "in": "query", "schema": schema, "description": about });
        if self.0["parameters"].is_null() {
            self.0["parameters"] = json!([]);
        }
        self.0["parameters"].as_array_mut().into_iter().for_each(|list| list.push(parameter.clone()));
        self
    }

    /// Is refused with one of these.
    fn may_be(mut self, statuses: &[u16]) -> Operation {
        for status in statuses {
            let content = json!({ "application/json": { "schema": reference("Problem") } });
            self.0["responses"][status.to_string()] = json!({ "description": refusal(*status), "content": content });
        }
        self
    }
}

fn refusal(status: u16) -> &'static str {
    match status {
        400 => "not what this address takes",
        401 => "log in first",
        403 => "not for this caller",
        404 => "there is no such thing",
        408 => "the body did not come to its end",
        409 => "there is another one, or others do the same",
        413 => "too large",
        415 => "not JSON",
        421 => "another server's",
        422 => "not the shape that is asked for",
        429 => "too often",
        503 => "the broker, or the store, cannot be used now",
        _ => "the store cannot be used now",
    }
}

fn reference(shape: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{shape}") })
}

fn list(shape: &str) -> Value {
    json!({ "type": "array", "items": reference(shape) })
}

/// A list with commas between its values, each of which is like the pattern.
fn list_of(pattern: &str) -> Value {
    let more = canvass_protocol::api::LISTED_VALUES_MAX - 1;
    json!({ "type": "string", "pattern": format!("^({pattern})(,({pattern})){{0,{more}}}$") })
}

fn paths() -> Value {
    let (uuid, text) = (json!({ "type": "string", "format": "uuid" }), json!({ "type": "string" }));
    let action = |operation: Operation| operation.of(&uuid, "the action's id");
    let (get, post, done) = (Operation::get, Operation::post, Operation::done);
    let past = |operation: Operation, most: u32, states: &str| {
        // Moments that every reader of them takes.
        let time = r"^20[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|1[0-9]|2[0-8])T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]Z$";
        let time = json!({ "type": "string", "pattern": time });
        // A moment, an action's hash, the number of the run and an agent's id.
        let mark = r"^[0-8]?[0-9]{1,18}\.[0-9a-f]{64}\.[0-9]{1,9}\.[0-9a-f]{0,64}$";
        let mark = json!({ "type": "string", "pattern": mark });
        operation
            .may_be(&[400, 403])
            .query("after", &mark, "the `next` of the page before")
            .query(
                "count",
                &json!({ "type": "integer", "minimum": 1, "maximum": most, "default": most }),
                "how many at most",
            )
            .query(
                "id",
                &list_of("[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
                "ids of actions; lists have commas between their values, of which there are at most 100",
            )
            .query("prefix", &text, "what the ids of actions begin with")
            .query("since", &time, "when the server took the actions, at the earliest")
            .query("until", &time, "when the server took the actions, at the latest")
            .query(
                "state",
                &list_of(states),
                "states, as the lists name them; an action's is open, complete, expired or withdrawn",
            )
    };
    let operations = [
        (
            "/healthz",
            "get",
            Operation::new("Whether the server is there and can write to its store", 200, "text/plain", &text)
                .may_be(&[503])
                .open(),
        ),
        ("/v1", "get", Operation::new("Who answers here", 200, "application/json", &reference("About")).open()),
        (
            "/v1/openapi.json",
            "get",
            Operation::new("This document", 200, "application/json", &json!({ "type": "object" })).open(),
        ),
        (
            "/v1/sessions",
            "post",
            post("Opens a session with a signed login", 200, &reference("Session"))
                .may_be(&[403])
                .takes("Envelope")
                .open(),
        ),
        (
            "/v1/enrolments",
            "post",
            post("An agent asks to be let in", 200, &reference("Enrolled")).may_be(&[403]).takes("Enrol").open(),
        ),
        (
            "/v1/lines",
            "post",
            post("Opens an agent's queue, where the relay is a broker", 200, &reference("QueueLine"))
                .may_be(&[403, 404, 503])
                .takes("OpenLine")
                .open(),
        ),
        (
            "/v1/agents",
            "get",
            get("Everybody admitted, or who is new since a mark (role read)", &reference("Inventory"))
                .may_be(&[400, 403])
                .query("since", &text, "a mark of a former answer; one that is not this server's lists everybody"),
        ),
        (
            "/v1/agents/pending",
            "get",
            get("Who waits to be admitted, in order of id (role admin)", &reference("PendingPage"))
                .may_be(&[400, 403])
                .query("after", &text, "the `next` of the page before")
                .query(
                    "count",
                    &json!({
                        "type": "integer", "minimum": 1, "maximum": super::agents::PENDING_MAX,
                        "default": super::agents::PENDING_MAX,
                    }),
                    "how many at most",
                ),
        ),
        (
            "/v1/agents/{id}/admission",
            "post",
            done("Admits an agent, or certifies one that is in the fleet, by an administrator's signature (role admin)")
                .takes("Admit")
                .of(&text, "the agent's id")
                .may_be(&[403, 409]),
        ),
        (
            "/v1/agents/{id}/removal",
            "post",
            done("Takes an agent out of the fleet; it has to enrol anew (role admin)").of(&text, "the agent's id"),
        ),
        (
            "/v1/actions",
            "get",
            past(
                get("Actions that the caller posted or signed, all for admins: the newest first", &reference("ActionsPage")),
                super::past::ACTIONS_MAX,
                "open|complete|expired|withdrawn",
            ),
        ),
        (
            "/v1/actions",
            "post",
            post("Posts a signed action (role hunt)", 201, &reference("Posted")).may_be(&[403, 409]).takes("Envelope"),
        ),
        ("/v1/actions/{id}", "get", action(get("One action", &reference("ActionSummary")))),
        ("/v1/actions/{id}/envelope", "get", action(get("An action as it was signed", &reference("Envelope")))),
        (
            "/v1/actions/{id}/signatures",
            "post",
            action(done("Adds an investigator's signature (role hunt)").takes("Cosignature").may_be(&[409])),
        ),
        ("/v1/actions/{id}/commands", "get", action(get("What became of it at each agent", &list("CommandSummary")))),
        ("/v1/actions/{id}/withdrawal", "post", action(done("Withdraws an action (role hunt)").takes("Envelope"))),
        (
            "/v1/actions/{id}/answers",
            "get",
            action(
                Operation::new(
                    "Answers as they come, one JSON record a line",
                    200,
                    "application/x-ndjson",
                    &reference("Record"),
                )
                .may_be(&SESSION),
            )
            .query(
                "after",
                &json!({ "type": "integer", "format": "int64", "default": 0 }),
                "the position of the last part known",
            )
            .query(
                "follow",
                &json!({ "type": "boolean", "default": true }),
                "whether those still to come are waited for",
            )
            .query(
                "asked",
                &json!({ "type": "integer", "minimum": 0, "maximum": u32::MAX }),
                "how many agents are known to be asked, by the reply to the post: they are told where there are others",
            ),
        ),
        (
            "/v1/commands",
            "get",
            past(
                get("What became of these actions at each agent: those of the newest action first", &reference("CommandsPage")),
                super::past::COMMANDS_MAX,
                &scheduler::State::ALL.map(scheduler::State::as_str).join("|"),
            )
            .query("agent", &text, "ids of agents"),
        ),
        (
            "/v1/revocations",
            "post",
            post("Revokes a certificate of the keyring, here and at every agent, whoever asks for it", 200, &reference("Revoked"))
                .may_be(&[404, 409])
                .takes_text("an OpenPGP revocation, armored", limits::REVOCATION_BYTES_MAX),
        ),
        (
            "/v1/audit",
            "get",
            get("Who did what, the latest first (role admin)", &list("AuditLine"))
                .may_be(&[400, 403])
                .query(
                    "before",
                    &json!({ "type": "integer", "format": "int64" }),
                    "the position of a line: those before it are told; without it, the latest",
                )
                .query(
                    "count",
                    &json!({ "type": "integer", "minimum": 1, "maximum": super::audit::COUNT_MAX, "default": super::audit::COUNT }),
                    "lines at once; fewer only where the beginning is reached",
                ),
        ),
    ];
    let mut paths = Map::new();
    for (path, method, Operation(operation)) in operations {
        paths.entry(path).or_insert_with(|| json!({}))[method] = operation;
    }
    Value::Object(paths)
}

/// An object of these members, all of which are there but those whose name ends in `?`.
fn object(members: &[(&str, Value)], closed: bool) -> Value {
    let name = |name: &str| name.trim_end_matches('?').to_owned();
    let properties: Map<String, Value> = members.iter().map(|(key, value)| (name(key), value.clone())).collect();
    let required: Vec<&str> = members.iter().map(|(key, _)| *key).filter(|key| !key.ends_with('?')).collect();
    let mut object = json!({ "type": "object", "properties": properties, "required": required });
    if closed {
        object["additionalProperties"] = json!(false);
    }
    object
}

fn words(words: &[&str]) -> Value {
    json!({ "type": "string", "enum": words })
}

fn schemas() -> Value {
    let text = json!({ "type": "string" });
    let text_or_null = json!({ "type": ["string", "null"] });
    let time = json!({ "type": "string", "format": "date-time" });
    let time_or_null = json!({ "type": ["string", "null"], "format": "date-time" });
    let count = json!({ "type": "integer", "minimum": 0 });
    let uuid = json!({ "type": "string", "format": "uuid" });
    let texts = json!({ "type": "array", "items": text });
    let hash = json!({ "type": "string", "pattern": "^[0-9a-f]{64}$", "description": "SHA-256 of what was signed" });
    let payload = json!({ "type": "string", "maxLength": limits::ACTION_BYTES_MAX, "description": "the signed bytes, strict JSON" });
    let signature = json!({
        "type": "string", "maxLength": limits::SIGNATURE_BYTES_MAX, "description": "a detached OpenPGP signature, armored",
    });
    let signatures = json!({ "type": "array", "maxItems": limits::SIGNATURES_MAX, "items": signature });
    let tally = json!({ "type": "object", "additionalProperties": count, "description": "agents by state" });
    let ended = object(&[("agent", text.clone()), ("state", words(&["expired", "cancelled"]))], false);
    let embedded = object(&[("path", text.clone())], false);
    let amqp = object(&[("nonce", text.clone())], false);
    json!({
        "About": object(&[("fleet", text.clone()), ("version", text.clone())], false),
        "Envelope": object(&[("payload", payload), ("signatures", signatures)], true),
        "Signed": object(&[("statement", text.clone()), ("signature", text.clone())], true),
        "Role": words(&["read", "hunt", "admin"]),
        "Session": object(&[
            ("token", text.clone()), ("expires_at", time.clone()), ("investigator", text.clone()), ("roles", list("Role")),
        ], false),
        "Enrol": object(&[("heartbeat", reference("Signed")), ("token?", text_or_null.clone())], true),
        "Enrolled": object(&[("admission", words(&["admitted", "pending"])), ("relay", reference("RelayAddress"))], false),
        "RelayAddress": { "oneOf": [object(&[("embedded", embedded)], true), object(&[("amqp", amqp)], true)] },
        "OpenLine": object(&[("nonce", text.clone()), ("proof", reference("Signed"))], true),
        "QueueLine": object(&[
            ("url", text.clone()), ("queue", text.clone()), ("exchange", text.clone()),
            ("routing_key", text.clone()), ("line", text.clone()),
        ], false),
        "Inventory": object(&[
            ("agents", list("Listed")), ("mark?", text_or_null.clone()), ("since?", text_or_null.clone()),
        ], false),
        "Listed": object(&[
            ("heartbeat", reference("Signed")), ("words", reference("ServerWords")), ("approval?", reference("Envelope")),
        ], false),
        "PendingPage": object(&[("agents", list("Listed")), ("next?", text_or_null.clone())], false),
        "Admit": object(&[("heartbeat", reference("Signed")), ("approval", reference("Envelope"))], true),
        "ServerWords": object(&[
            ("status", words(&["online", "idle", "offline"])), ("heartbeat_at", time.clone()), ("public_ip?", text_or_null.clone()),
        ], false),
        "Posted": object(&[("id", uuid.clone()), ("hash", hash.clone()), ("asked", texts.clone())], false),
        "Cosignature": object(&[("hash", hash.clone()), ("signature", signature)], true),
        "ActionSummary": object(&[
            ("id", uuid.clone()), ("hash", hash), ("statement", text.clone()), ("investigator", text.clone()), ("signers", texts.clone()),
            ("created_at", time.clone()), ("expires_at", time.clone()), ("withdrawn", json!({ "type": "boolean" })), ("tally", tally),
            ("rows", count.clone()),
        ], false),
        "ActionsPage": object(&[("actions", list("ActionSummary")), ("next?", text_or_null.clone())], false),
        "CommandsPage": object(&[("commands", list("CommandSummary")), ("next?", text_or_null.clone())], false),
        "CommandSummary": object(&[
            ("action", uuid), ("run", count.clone()), ("agent", text.clone()), ("state", words(&COMMAND_STATES)), ("sent_at?", time_or_null.clone()),
            ("finished_at?", time_or_null), ("rows", count.clone()), ("bytes", count.clone()), ("troubles", count.clone()),
            ("reason?", text_or_null.clone()), ("code?", text_or_null.clone()), ("cut?", text_or_null.clone()),
        ], false),
        "Revoked": object(&[("certificates", texts), ("known", count.clone()), ("agents", count.clone())], false),
        "AuditLine": object(&[
            ("position", json!({ "type": "integer" })), ("at", time), ("who", text.clone()), ("what", text.clone()), ("action?", text_or_null.clone()), ("detail", text.clone()),
        ], false),
        "Record": { "oneOf": [
            object(&[("asked", object(&[("agent", text.clone())], false))], true),
            object(&[("part", reference("StoredPart"))], true),
            object(&[("ended", ended)], true),
            words(&["complete"]),
        ] },
        "StoredPart": object(&[
            ("position", json!({ "type": "integer" })), ("run", count.clone()), ("agent", text.clone()), ("statement", text.clone()),
            ("signature", text.clone()), ("body", json!({ "type": "string", "contentEncoding": "base64" })),
        ], false),
        "Problem": object(&[("error", text.clone()), ("hint?", text_or_null)], false),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_is_described_and_every_description_is_a_route() {
        let source = include_str!("mod.rs");
        let routes = source.split(".route(\"").skip(1).filter_map(|rest| rest.split_once('"')).map(|(path, _)| path);
        let mut routes: Vec<&str> = routes.collect();
        routes.retain(|route| *route != "/v1/relay");
        routes.sort_unstable();
        let paths = paths();
        let mut described: Vec<&str> = paths.as_object().unwrap().keys().map(String::as_str).collect();
        described.sort_unstable();
        assert_eq!(described, routes);
    }

    #[test]
    fn what_is_referred_to_is_there() {
        let document = document();
        let text = document.to_string();
        for name in text.split("#/components/schemas/").skip(1).filter_map(|rest| rest.split_once('"')) {
            assert!(document["components"]["schemas"][name.0].is_object(), "{}", name.0);
        }
    }
}
