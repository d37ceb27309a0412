"""The tables of the index. Kafka holds the same data, so they can be deleted and are rebuilt."""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
)
from sqlalchemy import (
    Text as AnyText,
)

from saga_app.active_plan import PLAN

#: An index with another schema, or for another plan, is deleted and rebuilt.
SCHEMA = f"7 {PLAN.name} {','.join(PLAN.topics)}"

metadata = MetaData()

#: Sorted by code point in every database.
Text = AnyText().with_variant(AnyText(collation="C"), "postgresql")

#: One row a saga. `name_key` is the beginning of the name in its folded form (`saga.text.fold`), by which the list is
#: sorted; `search_key` is the searched text, and `first_fact` the fact of the plan's first step, both folded. `row` is
#: the JSON of the changelog, `entry` the JSON of the latest trace entry, `seq` the number of the latest event.
sagas = Table(
    "sagas",
    metadata,
    Column("id", Text, primary_key=True),
    Column("state", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False),
    Column("search_key", Text, nullable=False),
    Column("email", Text, nullable=False),
    Column("department", Text, nullable=False),
    Column("first_fact", Text),
    Column("started_at", Text, nullable=False),
    Column("ended_at", Text),
    Column("duration", Float),
    Column("overdue", Boolean, nullable=False),
    Column("reason", Text),
    Column("overtook", Integer),
    Column("seq", BigInteger, nullable=False),
    Column("idempotency", Text),
    Column("row", LargeBinary, nullable=False),
    Column("entry", LargeBinary),
)
#: Indexes for lists. A large backlog is written without them: creating them afterwards takes a fraction of the time.
LIST_INDEXES = (
    Index("sagas_started", sagas.c.started_at, sagas.c.id),
    Index("sagas_ended", sagas.c.ended_at, sagas.c.id),
    Index("sagas_duration", sagas.c.duration, sagas.c.id),
    Index("sagas_name", sagas.c.name_key, sagas.c.name, sagas.c.id),
    Index("sagas_state", sagas.c.state, sagas.c.started_at, sagas.c.id),
    Index("sagas_department", sagas.c.department, sagas.c.started_at, sagas.c.id),
    Index("sagas_first_fact", sagas.c.first_fact),
    Index("sagas_seq", sagas.c.seq),
)
_KEYED = sagas.c.idempotency.is_not(None)
Index("sagas_idempotency", sagas.c.idempotency, sqlite_where=_KEYED, postgresql_where=_KEYED)

#: Dead letters by the position of the original, so that duplicates are stored once. `open` until an operator has
#: resolved it. `readable`: a redrive starts the attempt after `attempt`; others are resent unchanged.
letters = Table(
    "letters",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("offset", BigInteger, primary_key=True),
    Column("id", Text),
    Column("saga", Text),
    Column("department", Text),
    Column("service", Text, nullable=False),
    Column("step", Text, nullable=False),
    Column("error", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("at", Text, nullable=False),
    Column("open", Boolean, nullable=False),
    Column("readable", Boolean, nullable=False),
    Column("dlq_partition", Integer, nullable=False),
    Column("dlq_offset", BigInteger, nullable=False),
    Column("refused_by", Text),
    Column("original_bytes", BigInteger),
    Column("kept_bytes", BigInteger),
)
Index("letters_at", letters.c.open, letters.c.at, letters.c.dlq_partition, letters.c.dlq_offset)
Index("letters_id", letters.c.id)

#: Dead letters that were resent. The resent record may be read before the dead letter itself.
redriven = Table(
    "redriven",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("offset", BigInteger, primary_key=True),
)

#: The next offset to read, by topic and partition; written in the same transaction as the records before it.
offsets = Table(
    "offsets",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next", BigInteger, nullable=False),
)

#: schema, epoch (a new one for each rebuild), cluster (the broker's id), seq (the last event's number), searched (the
#: last row that is in the search index).
meta = Table("meta", metadata, Column("name", Text, primary_key=True), Column("value", Text, nullable=False))
