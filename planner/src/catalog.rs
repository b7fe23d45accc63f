//! What can stand after FROM, and the columns that every endpoint table has beside its own.

use std::sync::{Arc, LazyLock};

use canvass_protocol::target::Facts;
use canvass_tables::Table;
use canvass_tables::column::{Class, Form, Kind};
use datafusion::arrow::array::{
    ArrayRef, Float64Array, ListBuilder, MapBuilder, RecordBatch, StringArray, StringBuilder, StructArray,
    TimestampNanosecondArray, new_null_array,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{DataType, Field, Fields, Schema, SchemaRef};
use datafusion::common::Result;
use jiff::Timestamp;

use crate::fleet::Endpoint;
use crate::form;

/// The column that names the endpoint, in every endpoint table.
pub const HOST: &str = "host";
/// The struct column that describes the endpoint, in every endpoint table.
pub const AGENT: &str = "agent";
/// The inventory.
pub const AGENTS: &str = "agents";
/// Its column that says what endpoint tables call [`HOST`].
const NAME: &str = "name";

/// The mark in a field's metadata of a column that is content.
pub(crate) const CONTENT: (&str, &str) = ("canvass.class", "content");
/// The mark of the column that names the endpoint, which no row of an endpoint table lacks.
pub(crate) const ENDPOINT: (&str, &str) = ("canvass.class", "endpoint");
/// The mark of a column of names under which endpoints are shown: the desk fills it in from a verified identity, wherever the
/// row comes from.
pub(crate) const SHOWN: (&str, &str) = ("canvass.host", "shown");
/// The mark in a field's metadata of a column of hexadecimal digits, which have no case.
pub(crate) const HEX: (&str, &str) = ("canvass.digits", "hex");

/// The mark of a column that counts bytes; a number that counts something else has [`COUNT`].
pub(crate) const BYTES: (&str, &str) = ("canvass.form", "bytes");
pub(crate) const COUNT: (&str, &str) = ("canvass.unit", "count");

/// What is known of an agent: name, kind and who says it. `location`, lists and what no agent's facts hold are not compared on
/// endpoints.
pub struct AgentField {
    pub name: &'static str,
    pub about: &'static str,
    pub said_by: SaidBy,
    /// What its values look like, beyond their type.
    pub form: Form,
    data_type: fn() -> DataType,
}

/// Who says something of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SaidBy {
    /// The agent, in its facts, which its answers sign too.
    Agent,
    /// The agent, in its heartbeat alone.
    Heartbeat,
    Server,
    /// A signature that the desk has verified.
    Administrator,
}

impl SaidBy {
    pub fn as_str(self) -> &'static str {
        match self {
            SaidBy::Agent | SaidBy::Heartbeat => "the agent",
            SaidBy::Server => "the server",
            SaidBy::Administrator => "an administrator",
        }
    }
}

/// The fields of `agent`, which are the columns of `agents`.
pub static AGENT_FIELDS: &[AgentField] = &[
    field("id", "hash of the agent's public key", text),
    field("name", "the endpoint's host name", text),
    field("mode", "how the agent runs: daemon or checkin", text).form(Form::OneOf(&["daemon", "checkin"])),
    field("os", "operating system: linux or darwin", text),
    field("arch", "processor: x86_64, aarch64 …", text),
    field("os_version", "name and version of the distribution", text),
    field("kernel", "release of the kernel", text),
    field("version", "version of the agent program", text),
    field("tags", "key and value, from the agent's own configuration", tags_type),
    field("addresses", "addresses of the endpoint's interfaces", list_type),
    field("features", "what the agent can do: table:files …", list_type),
    field(
        "revoked_keys",
        "certificates of its keyring that are revoked, with commas between them; NULL where none is",
        text,
    ),
    field("started_at", "when the agent started", time),
    field("policy_sha256", "digest of its policy, keyring and revocations", text).said_by(SaidBy::Heartbeat),
    field("certified_by", "who signed that it belongs to the fleet under its name", text)
        .said_by(SaidBy::Administrator),
    word("status", "online, idle or offline", text).form(Form::OneOf(&["online", "idle", "offline"])),
    word("public_ip", "the address the server sees", text).form(Form::Ip),
    word("location", "where that address is thought to be", location_type),
    word("heartbeat_at", "when the agent was last heard", time),
];

impl AgentField {
    /// The field's type in our words.
    pub fn kind(&self) -> &'static str {
        type_name(&(self.data_type)())
    }
}

/// What a type is called where columns are listed: the word that a CAST takes, where there is one.
pub fn type_name(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => Kind::Text.as_str(),
        DataType::Boolean => Kind::Boolean.as_str(),
        kind if kind.is_integer() => Kind::Integer.as_str(),
        kind if kind.is_floating() => Kind::Float.as_str(),
        DataType::Decimal32(..) | DataType::Decimal64(..) | DataType::Decimal128(..) | DataType::Decimal256(..) => {
            "decimal"
        }
        DataType::Timestamp(..) => Kind::Timestamp.as_str(),
        DataType::Date32 | DataType::Date64 => "date",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Interval(_) | DataType::Duration(_) => "interval",
        DataType::List(_) | DataType::LargeList(_) | DataType::FixedSizeList(..) => "list",
        DataType::Map(..) => "map",
        DataType::Struct(_) => "struct",
        DataType::Dictionary(_, values) => type_name(values),
        DataType::Null => "null",
        _ => "bytes",
    }
}

const fn field(name: &'static str, about: &'static str, data_type: fn() -> DataType) -> AgentField {
    AgentField { name, about, said_by: SaidBy::Agent, form: Form::Any, data_type }
}

const fn word(name: &'static str, about: &'static str, data_type: fn() -> DataType) -> AgentField {
    field(name, about, data_type).said_by(SaidBy::Server)
}

impl AgentField {
    const fn form(mut self, form: Form) -> AgentField {
        self.form = form;
        self
    }

    const fn said_by(mut self, said_by: SaidBy) -> AgentField {
        self.said_by = said_by;
        self
    }
}

fn text() -> DataType {
    DataType::Utf8
}

fn time() -> DataType {
    Kind::Timestamp.data_type()
}

fn tags_type() -> DataType {
    let entries =
        Fields::from(vec![Field::new("keys", DataType::Utf8, false), Field::new("values", DataType::Utf8, true)]);
    DataType::Map(Arc::new(Field::new("entries", DataType::Struct(entries), false)), false)
}

fn list_type() -> DataType {
    DataType::List(Arc::new(Field::new_list_field(DataType::Utf8, true)))
}

fn location_type() -> DataType {
    DataType::Struct(location_fields())
}

fn location_fields() -> Fields {
    Fields::from(vec![
        Field::new("country", DataType::Utf8, true),
        Field::new("city", DataType::Utf8, true),
        Field::new("latitude", DataType::Float64, true),
        Field::new("longitude", DataType::Float64, true),
    ])
}

static AGENT_ARROW_FIELDS: LazyLock<Fields> = LazyLock::new(|| {
    let arrow = |field: &AgentField| {
        Field::new(field.name, (field.data_type)(), true).with_metadata(form::mark(field.form).into_iter().collect())
    };
    AGENT_FIELDS.iter().map(arrow).collect()
});

/// The schema of an endpoint table at the desk: `host`, its own columns, `agent`.
pub fn endpoint_schema(table: &dyn Table) -> SchemaRef {
    let own = table.columns().into_iter().map(|column| {
        let counts = column.kind == Kind::Integer && column.form != Form::Bytes;
        let marks = [(CONTENT, column.class == Class::Content), (HEX, column.hex()), (COUNT, counts)];
        let marks = marks.into_iter().filter(|(_, marked)| *marked);
        let marks = marks.map(|((key, value), _)| (key.to_owned(), value.to_owned()));
        let metadata = marks.chain(form::mark(column.form)).collect();
        Field::new(column.name, column.kind.data_type(), true).with_metadata(metadata)
    });
    let endpoint = [ENDPOINT, SHOWN].map(|(key, value)| (key.to_owned(), value.to_owned())).into();
    let mut fields = vec![Field::new(HOST, DataType::Utf8, false).with_metadata(endpoint)];
    fields.extend(own);
    fields.push(Field::new(AGENT, DataType::Struct(AGENT_ARROW_FIELDS.clone()), false));
    Arc::new(Schema::new(fields))
}

/// The columns that `*` leaves out of an endpoint table: `agent` and every probe, content and hashes among them.
pub fn hidden_columns(table: &dyn Table) -> Vec<&'static str> {
    let probes = table.columns().into_iter().filter(|column| column.probe).map(|column| column.name);
    probes.chain([AGENT]).collect()
}

/// The table `agents`: one row an endpoint.
pub(crate) fn agents_batch(endpoints: &[Endpoint]) -> Result<RecordBatch> {
    let (fields, arrays, _) = agent_structs(endpoints)?.into_parts();
    let marked = |field: &Arc<Field>| match field.name().as_str() {
        NAME => {
            let mut metadata = field.metadata().clone();
            metadata.insert(SHOWN.0.to_owned(), SHOWN.1.to_owned());
            Arc::new(field.as_ref().clone().with_metadata(metadata))
        }
        _ => field.clone(),
    };
    let fields: Fields = fields.iter().map(marked).collect();
    Ok(RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?)
}

/// Whether a column holds nothing but names under which endpoints are shown.
pub(crate) fn is_shown(field: &Field) -> bool {
    field.metadata().get(SHOWN.0).is_some_and(|mark| mark == SHOWN.1)
}

/// A schema whose columns are marked as names of endpoints only where they are: a union has the marks of whichever part has any.
pub(crate) fn shown_as(schema: &Schema, shown: &[bool]) -> SchemaRef {
    let unmarked = |(field, shown): (&Arc<Field>, &bool)| {
        if *shown || !is_shown(field) {
            return field.clone();
        }
        let mut metadata = field.metadata().clone();
        metadata.remove(SHOWN.0);
        Arc::new(field.as_ref().clone().with_metadata(metadata))
    };
    let fields: Fields = schema.fields().iter().zip(shown).map(unmarked).collect();
    Arc::new(Schema::new_with_metadata(fields, schema.metadata().clone()))
}

/// The values of column `agent` for these endpoints, one row each.
pub fn agent_structs(endpoints: &[Endpoint]) -> Result<StructArray> {
    let texts = |get: &dyn Fn(&Endpoint) -> Option<String>| -> ArrayRef {
        Arc::new(endpoints.iter().map(get).collect::<StringArray>())
    };
    let times = |get: &dyn Fn(&Endpoint) -> Timestamp| -> ArrayRef {
        let ns = endpoints.iter().map(|endpoint| i64::try_from(get(endpoint).as_nanosecond()).ok());
        Arc::new(ns.collect::<TimestampNanosecondArray>().with_timezone("UTC"))
    };
    let columns = AGENT_FIELDS.iter().map(|field| match field.name {
        "id" => texts(&|endpoint| Some(endpoint.facts.id.clone())),
        "name" => texts(&|endpoint| Some(endpoint.host.clone())),
        "mode" => texts(&|endpoint| Some(endpoint.facts.mode.as_str().to_owned())),
        "os" => texts(&|endpoint| Some(endpoint.facts.os.clone())),
        "arch" => texts(&|endpoint| Some(endpoint.facts.arch.clone())),
        "os_version" => texts(&|endpoint| endpoint.facts.os_version.clone()),
        "kernel" => texts(&|endpoint| endpoint.facts.kernel.clone()),
        "version" => texts(&|endpoint| Some(endpoint.facts.version.clone())),
        "tags" => tags(endpoints),
        "addresses" => {
            lists(endpoints, |facts| facts.addresses.iter().map(|address| address.to_canonical().to_string()).collect())
        }
        "features" => lists(endpoints, |facts| facts.features.clone()),
        "revoked_keys" => texts(&|endpoint| revoked_keys(&endpoint.facts)),
        "started_at" => times(&|endpoint| endpoint.facts.started_at),
        "policy_sha256" => texts(&|endpoint| endpoint.standing.policy_sha256.clone()),
        "certified_by" => texts(&|endpoint| endpoint.standing.certified_by.clone()),
        "status" => texts(&|endpoint| Some(endpoint.words.status.as_str().to_owned())),
        "public_ip" => texts(&|endpoint| endpoint.words.public_ip.map(|ip| ip.to_canonical().to_string())),
        "heartbeat_at" => times(&|endpoint| endpoint.words.heartbeat_at),
        _ => unknown_locations(endpoints.len()),
    });
    let columns: Vec<ArrayRef> = columns.collect();
    Ok(StructArray::try_new(AGENT_ARROW_FIELDS.clone(), columns, None)?)
}

/// As [`agent_structs`], of one endpoint that is known by its own signed facts alone: what others said of it is unknown.
pub fn signed_struct(endpoint: &Endpoint) -> Result<StructArray> {
    keep_fields(agent_structs(std::slice::from_ref(endpoint))?, |field| field.said_by == SaidBy::Agent)
}

/// As [`agent_structs`], of one endpoint of which nothing is known but its id.
pub fn unknown_struct(id: &str) -> Result<StructArray> {
    keep_fields(agent_structs(&[Endpoint::unknown(id)])?, |field| field.name == "id")
}

fn keep_fields(agents: StructArray, keeps: impl Fn(&AgentField) -> bool) -> Result<StructArray> {
    let (fields, columns, nulls) = agents.into_parts();
    let columns = AGENT_FIELDS
        .iter()
        .zip(columns)
        .map(|(field, column)| if keeps(field) { column } else { new_null_array(column.data_type(), column.len()) });
    Ok(StructArray::try_new(fields, columns.collect(), nulls)?)
}

fn tags(endpoints: &[Endpoint]) -> ArrayRef {
    let mut builder = MapBuilder::new(None, StringBuilder::new(), StringBuilder::new());
    for endpoint in endpoints {
        for (key, value) in &endpoint.facts.tags {
            builder.keys().append_value(key);
            builder.values().append_value(value);
        }
        builder.append(true).expect("keys and values were appended in pairs");
    }
    Arc::new(builder.finish())
}

fn lists(endpoints: &[Endpoint], values: impl Fn(&Facts) -> Vec<String>) -> ArrayRef {
    let mut builder = ListBuilder::new(StringBuilder::new());
    for endpoint in endpoints {
        builder.append_value(values(&endpoint.facts).into_iter().map(Some));
    }
    Arc::new(builder.finish())
}

fn revoked_keys(facts: &Facts) -> Option<String> {
    let keys: Vec<&str> = facts.revoked_keys.iter().map(|key| key.0.as_str()).collect();
    (!keys.is_empty()).then(|| keys.join(","))
}

fn unknown_locations(rows: usize) -> ArrayRef {
    let texts = || Arc::new(StringArray::new_null(rows)) as ArrayRef;
    let numbers = || Arc::new(Float64Array::new_null(rows)) as ArrayRef;
    let columns = vec![texts(), texts(), numbers(), numbers()];
    let nulls = NullBuffer::new_null(rows);
    Arc::new(StructArray::new(location_fields(), columns, Some(nulls)))
}

#[cfg(test)]
mod tests {
    use canvass_protocol::target::{Mode, Status};

    use super::*;

    #[test]
    fn enumerations_of_agents_are_whole() {
        let declared = |name: &str| match AGENT_FIELDS.iter().find(|field| field.name == name).map(|field| field.form) {
            Some(Form::OneOf(values)) => values,
            _ => &[],
        };
        assert_eq!(declared("status"), Status::ALL.map(Status::as_str));
        assert_eq!(declared("mode"), [Mode::Daemon, Mode::Checkin].map(Mode::as_str));
    }
}
