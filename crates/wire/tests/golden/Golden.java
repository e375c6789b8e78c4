// Writes the golden files of this folder with Apache Kafka's own Java classes, an encoder independent of ours.
// `cargo xtask golden` fetches those classes, runs this, and leaves the files changed as they should be.
//
// requests.txt, responses.txt: bodies, one a line: API, versions that have these very bytes, variant, hex. Each is built
// from Kafka's published schema, then read and written again by Kafka's own message classes. Variants:
//   full      every field has the value that `value` below makes of its name, so that no two can be mistaken for each other
//   null      as full, but what may be null is null
//   empty     nothing is null, everything is empty or 0
//   tagged    as full, with a tagged field that nobody knows in every structure (flexible versions)
//   default   what Kafka sends when nothing was set
// headers.txt: headers in front of them, one a line: API, versions, request or response, hex. Correlation id 16909060, client
// id "golden-é", and no tagged fields.
// schemas.txt: what requests consist of: bytes of a fixed field as a number, s text, b bytes, [array], {structure},
// ? after what may be null, <tag:field> for tagged fields that are known.
// apis.txt: what Kafka's broker shows to clients: key, API, lowest and highest version.
// batches.txt: record batches, one a line: name, hex. What is in them stands below, and in tests/it/golden.rs.

import java.io.PrintWriter;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.*;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.message.ApiMessageType.ListenerType;
import org.apache.kafka.common.protocol.*;
import org.apache.kafka.common.protocol.types.*;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.*;
import org.apache.kafka.common.requests.RequestHeader;
import org.apache.kafka.common.requests.ResponseHeader;

public class Golden {
    static final long NOW = 1_700_000_000_000L;

    // What Pagemark serves or is about to; add an API here and run the command above.
    static final List<ApiKeys> APIS = List.of(ApiKeys.PRODUCE, ApiKeys.FETCH, ApiKeys.LIST_OFFSETS, ApiKeys.METADATA,
        ApiKeys.OFFSET_COMMIT, ApiKeys.OFFSET_FETCH, ApiKeys.FIND_COORDINATOR, ApiKeys.JOIN_GROUP, ApiKeys.HEARTBEAT,
        ApiKeys.LEAVE_GROUP, ApiKeys.SYNC_GROUP, ApiKeys.DESCRIBE_GROUPS, ApiKeys.LIST_GROUPS, ApiKeys.API_VERSIONS,
        ApiKeys.CREATE_TOPICS, ApiKeys.DELETE_TOPICS, ApiKeys.DELETE_RECORDS, ApiKeys.INIT_PRODUCER_ID,
        ApiKeys.OFFSET_FOR_LEADER_EPOCH, ApiKeys.DESCRIBE_CONFIGS, ApiKeys.ALTER_CONFIGS, ApiKeys.DESCRIBE_LOG_DIRS,
        ApiKeys.CREATE_PARTITIONS, ApiKeys.DELETE_GROUPS, ApiKeys.INCREMENTAL_ALTER_CONFIGS, ApiKeys.OFFSET_DELETE,
        ApiKeys.DESCRIBE_CLUSTER, ApiKeys.DESCRIBE_TOPIC_PARTITIONS, ApiKeys.CONSUMER_GROUP_DESCRIBE);

    public static void main(String[] args) throws Exception {
        try (PrintWriter out = new PrintWriter("requests.txt", "UTF-8")) {
            for (ApiKeys api : APIS) bodies(out, api, api.messageType.requestSchemas(), true);
        }
        try (PrintWriter out = new PrintWriter("responses.txt", "UTF-8")) {
            for (ApiKeys api : APIS) bodies(out, api, api.messageType.responseSchemas(), false);
        }
        try (PrintWriter out = new PrintWriter("headers.txt", "UTF-8")) {
            for (ApiKeys api : APIS) headers(out, api);
        }
        try (PrintWriter out = new PrintWriter("schemas.txt", "UTF-8")) {
            for (ApiKeys api : APIS) {
                Schema[] schemas = api.messageType.requestSchemas();
                for (int version = 0; version < schemas.length; version++)
                    if (schemas[version] != null) out.println(name(api) + " " + version + " " + describe(schemas[version]));
            }
        }
        try (PrintWriter out = new PrintWriter("apis.txt", "UTF-8")) {
            for (ApiKeys api : ApiKeys.apisForListener(ListenerType.BROKER)) {
                var shown = api.toApiVersionForApiResponse(false, ListenerType.BROKER).get();
                out.println(shown.apiKey() + " " + name(api) + " " + shown.minVersion() + " " + shown.maxVersion());
            }
        }
        try (PrintWriter out = new PrintWriter("batches.txt", "UTF-8")) {
            batches(out);
        }
    }

    // Every variant of every version; versions in a row with the same bytes share a line.
    static void bodies(PrintWriter out, ApiKeys api, Schema[] schemas, boolean request) {
        for (String variant : List.of("full", "null", "empty", "tagged", "default")) {
            int first = 0;
            String last = null;
            for (int version = 0; version <= schemas.length; version++) {
                String hex = version == schemas.length ? null : body(api, schemas[version], (short) version, variant, request);
                if (last != null && !last.equals(hex)) {
                    String versions = first == version - 1 ? "" + first : first + "-" + (version - 1);
                    out.println(name(api) + " " + versions + " " + variant + " " + last);
                }
                if (!Objects.equals(last, hex)) first = version;
                last = hex;
            }
        }
    }

    static void headers(PrintWriter out, ApiKeys api) {
        for (short version = 0; version < api.messageType.requestSchemas().length; version++) {
            if (api.messageType.requestSchemas()[version] == null) continue;
            RequestHeader asked = new RequestHeader(api, version, "golden-é", 16909060);
            ResponseHeader answered = asked.toResponseHeader();
            out.println(name(api) + " " + version + " request " + hex(asked.data(), asked.headerVersion()));
            out.println(name(api) + " " + version + " response " + hex(answered.data(), answered.headerVersion()));
        }
    }

    static String hex(ApiMessage message, short version) {
        byte[] written = MessageUtil.toByteBufferAccessor(message, version).buffer().array();
        return written.length == 0 ? "-" : HexFormat.of().formatHex(written);
    }

    // The body as hex, or null if there is no such version or variant.
    static String body(ApiKeys api, Schema schema, short version, String variant, boolean request) {
        if (schema == null || variant.equals("tagged") && !isFlexible(schema)) return null;
        ApiMessage message = request ? api.messageType.newRequest() : api.messageType.newResponse();
        if (!variant.equals("default")) {
            Struct struct = struct(schema, variant, 2);
            ByteBuffer bytes = ByteBuffer.allocate(struct.sizeOf());
            struct.writeTo(bytes);
            bytes.flip();
            message.read(new ByteBufferAccessor(bytes), version);
            if (bytes.hasRemaining()) throw new IllegalStateException(name(api) + " " + version + " " + variant);
        }
        return hex(message, version);
    }

    static boolean isFlexible(Schema schema) {
        return Arrays.stream(schema.fields()).anyMatch(field -> field.def.type instanceof TaggedFields);
    }

    static String name(ApiKeys api) {
        return api.messageType.name.replaceAll("[^A-Za-z]", "");
    }

    static String describe(Type type) {
        String nullable = type.isNullable() ? "?" : "";
        if (type instanceof TaggedFields tagged) {
            StringBuilder text = new StringBuilder();
            tagged.fields().forEach((tag, field) -> text.append("<" + tag + ":" + describe(field.type) + ">"));
            return text.toString();
        }
        if (type instanceof Schema schema) {
            StringBuilder text = new StringBuilder("{");
            for (BoundField field : schema.fields()) text.append(text.length() == 1 ? "" : " ").append(describe(field.def.type));
            return text.toString().stripTrailing() + "}" + nullable;
        }
        if (type.isArray()) return "[" + describe(type.arrayElementType().get()) + "]" + nullable;
        String name = type.toString();
        if (name.endsWith("STRING")) return "s" + nullable;
        if (name.endsWith("BYTES") || name.endsWith("RECORDS")) return "b" + nullable;
        return switch (name) {
            case "BOOLEAN", "INT8" -> "1";
            case "INT16", "UINT16" -> "2";
            case "INT32" -> "4";
            case "INT64" -> "8";
            case "UUID" -> "16";
            default -> throw new IllegalStateException(name);
        };
    }

    static Struct struct(Schema schema, String variant, int elements) {
        Struct struct = new Struct(schema);
        for (BoundField field : schema.fields())
            struct.set(field, value(field.def.type, field.def.name, variant, elements));
        return struct;
    }

    // Outer arrays have two elements, those within them one.
    static Object value(Type type, String name, String variant, int elements) {
        if (type instanceof TaggedFields tagged) {
            NavigableMap<Integer, Object> values = new TreeMap<>();
            tagged.fields().forEach((tag, field) -> values.put(tag, value(field.type, field.name, variant, elements)));
            if (variant.equals("tagged")) values.put(9999, new RawTaggedField(9999, new byte[] {1, 2, 3}));
            return values;
        }
        if (variant.equals("null") && type.isNullable()) return null;
        if (type instanceof Schema schema) return struct(schema, variant, elements);
        boolean empty = variant.equals("empty");
        if (type.isArray()) {
            Object[] array = new Object[empty ? 0 : elements];
            Arrays.setAll(array, i -> value(type.arrayElementType().get(), name, variant, 1));
            return array;
        }
        java.util.zip.CRC32 crc = new java.util.zip.CRC32();
        crc.update(name.getBytes(StandardCharsets.UTF_8));
        long number = empty ? 0 : crc.getValue();
        return switch (type.toString()) {
            case "BOOLEAN" -> number % 2 == 1;
            case "INT8" -> (byte) number;
            case "INT16" -> (short) number;
            case "UINT16" -> (int) number & 0xffff;
            case "INT32" -> (int) number;
            case "INT64" -> number << 32 | number;
            case "UUID" -> new Uuid(number, number);
            case "STRING", "NULLABLE_STRING", "COMPACT_STRING", "COMPACT_NULLABLE_STRING" -> empty ? "" : name + "-é";
            case "BYTES", "NULLABLE_BYTES", "COMPACT_BYTES", "COMPACT_NULLABLE_BYTES" ->
                ByteBuffer.wrap(empty ? new byte[0] : name.getBytes(StandardCharsets.UTF_8));
            case "RECORDS", "NULLABLE_RECORDS", "COMPACT_RECORDS", "COMPACT_NULLABLE_RECORDS" -> empty ? MemoryRecords.EMPTY
                : MemoryRecords.withRecords(NOW, Compression.NONE, new SimpleRecord(NOW, null, new byte[] {7}));
            default -> throw new IllegalStateException(type.toString());
        };
    }

    static void batches(PrintWriter out) throws Exception {
        Map<String, Compression> codecs = new LinkedHashMap<>();
        codecs.put("none", Compression.NONE);
        codecs.put("gzip", Compression.gzip().build());
        codecs.put("snappy", Compression.snappy().build());
        codecs.put("lz4", Compression.lz4().build());
        codecs.put("zstd", Compression.zstd().build());
        for (var codec : codecs.entrySet()) {
            print(out, codec.getKey(), filled(codec.getValue(), 0L, TimestampType.CREATE_TIME, -1L, (short) -1, -1, false));
            // 100 records of 2000 bytes each: several blocks of snappy and lz4.
            if (codec.getValue() != Compression.NONE) print(out, codec.getKey() + "-large", large(codec.getValue()));
        }
        print(out, "idempotent", filled(Compression.NONE, 0L, TimestampType.CREATE_TIME, 4711L, (short) 3, 42, false));
        print(out, "transactional", filled(Compression.NONE, 0L, TimestampType.CREATE_TIME, 4711L, (short) 3, 42, true));
        print(out, "log-append-time", filled(Compression.NONE, 1000L, TimestampType.LOG_APPEND_TIME, -1L, (short) -1, -1, false));
        print(out, "commit-marker", MemoryRecords.withEndTransactionMarker(77L, NOW, 5, 4711L, (short) 3,
            new EndTransactionMarker(ControlRecordType.COMMIT, 9)).buffer());
    }

    // Four records: both null; text key and value; empty key and tombstone; headers with null, empty and doubled names.
    static ByteBuffer filled(Compression codec, long base, TimestampType type, long pid, short epoch, int sequence, boolean txn) {
        MemoryRecordsBuilder builder = new MemoryRecordsBuilder(ByteBuffer.allocate(512), RecordBatch.MAGIC_VALUE_V2, codec, type,
            base, type == TimestampType.LOG_APPEND_TIME ? NOW + 999 : -1L, pid, epoch, sequence, txn, false, 5, Integer.MAX_VALUE);
        builder.append(NOW, (ByteBuffer) null, (ByteBuffer) null);
        builder.append(NOW + 7, bytes("key"), bytes("value"));
        builder.append(NOW - 300, bytes(""), (ByteBuffer) null);
        builder.append(NOW + 5, bytes("k\u00e9y"), bytes(""), new Header[] {
            new RecordHeader("h", null), new RecordHeader("h", new byte[0]), new RecordHeader("", new byte[] {9})});
        return builder.build().buffer();
    }

    static ByteBuffer large(Compression codec) {
        MemoryRecordsBuilder builder = new MemoryRecordsBuilder(ByteBuffer.allocate(512), RecordBatch.MAGIC_VALUE_V2, codec,
            TimestampType.CREATE_TIME, 0L, -1L, -1L, (short) -1, -1, false, false, -1, Integer.MAX_VALUE);
        for (int i = 0; i < 100; i++) builder.append(NOW + i, bytes("key-" + i), bytes("value ".repeat(333) + i % 10));
        return builder.build().buffer();
    }

    static ByteBuffer bytes(String text) {
        return ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
    }

    static void print(PrintWriter out, String name, ByteBuffer batch) {
        byte[] bytes = new byte[batch.remaining()];
        batch.duplicate().get(bytes);
        out.println(name + " " + HexFormat.of().formatHex(bytes));
    }
}
