// Writes the golden files of this folder with Apache Kafka's own Java classes, an encoder independent of ours.
//
//   java -cp "$KAFKA_HOME/libs/*" Golden.java      (Kafka 4.3, Java 17 or later; from this folder)
//
// requests.txt: request bodies, one a line: API, version, variant, hex. Each is built from Kafka's published schema:
//   filled    every field has a value, arrays have two elements
//   null      every field that may be null is null, arrays are empty
//   tagged    as filled, with a tagged field that nobody knows in every structure
// schemas.txt: what each of those bodies consists of: bytes of a fixed field as a number, s text, b bytes, [array],
// {structure}, ? after what may be null, <tag:field> for tagged fields that are known.
// batches.txt: record batches, one a line: name, hex. What is in them stands below, and in tests/it/golden.rs.

import java.io.PrintWriter;
import java.nio.ByteBuffer;
import java.util.*;
import org.apache.kafka.common.compress.Compression;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.protocol.ApiKeys;
import org.apache.kafka.common.protocol.types.*;
import org.apache.kafka.common.record.TimestampType;
import org.apache.kafka.common.record.internal.*;

public class Golden {
    static final long NOW = 1_700_000_000_000L;

    public static void main(String[] args) throws Exception {
        try (PrintWriter out = new PrintWriter("requests.txt", "UTF-8")) {
            requests(out);
        }
        try (PrintWriter out = new PrintWriter("schemas.txt", "UTF-8")) {
            for (ApiKeys api : ApiKeys.values()) {
                Schema[] schemas = api.messageType.requestSchemas();
                for (int version = 0; SERVED.contains(api.name()) && version < schemas.length; version++)
                    if (schemas[version] != null) out.println(name(api) + " " + version + " " + describe(schemas[version]));
            }
        }
        try (PrintWriter out = new PrintWriter("batches.txt", "UTF-8")) {
            batches(out);
        }
    }

    static final Set<String> SERVED = Set.of("PRODUCE", "FETCH", "LIST_OFFSETS", "METADATA", "OFFSET_COMMIT", "OFFSET_FETCH",
        "FIND_COORDINATOR", "JOIN_GROUP", "HEARTBEAT", "LEAVE_GROUP", "SYNC_GROUP", "DESCRIBE_GROUPS", "LIST_GROUPS",
        "API_VERSIONS", "CREATE_TOPICS", "DELETE_TOPICS", "INIT_PRODUCER_ID");

    static void requests(PrintWriter out) {
        for (ApiKeys api : ApiKeys.values()) {
            if (!SERVED.contains(api.name())) continue;
            Schema[] schemas = api.messageType.requestSchemas();
            for (int version = 0; version < schemas.length; version++) {
                if (schemas[version] == null) continue;
                for (String variant : List.of("filled", "null", "tagged")) {
                    Struct body = struct(schemas[version], variant);
                    ByteBuffer bytes = ByteBuffer.allocate(body.sizeOf());
                    body.writeTo(bytes);
                    out.println(name(api) + " " + version + " " + variant + " "
                        + HexFormat.of().formatHex(bytes.array()));
                }
            }
        }
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
            return text.toString().stripTrailing() + "}";
        }
        if (type.isArray()) return "[" + describe(type.arrayElementType().get()) + "]" + nullable;
        String name = type.toString();
        if (name.endsWith("STRING")) return "s" + nullable;
        if (name.endsWith("BYTES") || name.endsWith("RECORDS")) return "b" + nullable;
        return switch (name) {
            case "BOOLEAN", "INT8" -> "1";
            case "INT16" -> "2";
            case "INT32" -> "4";
            case "INT64" -> "8";
            case "UUID" -> "16";
            default -> throw new IllegalStateException(name);
        };
    }

    static Struct struct(Schema schema, String variant) {
        Struct struct = new Struct(schema);
        for (BoundField field : schema.fields()) struct.set(field, value(field.def.type, field.def.name, variant));
        return struct;
    }

    static Object value(Type type, String name, String variant) {
        if (type instanceof TaggedFields tagged) {
            NavigableMap<Integer, Object> values = new TreeMap<>();
            if (!variant.equals("null"))
                tagged.fields().forEach((tag, field) -> values.put(tag, value(field.type, field.name, variant)));
            if (variant.equals("tagged")) values.put(9999, new RawTaggedField(9999, new byte[] {1, 2, 3}));
            return values;
        }
        if (variant.equals("null") && type.isNullable()) return null;
        if (type instanceof Schema schema) return struct(schema, variant);
        if (type.isArray()) {
            Type element = type.arrayElementType().get();
            if (variant.equals("null")) return new Object[0];
            return new Object[] {value(element, name, variant), value(element, name, variant)};
        }
        return switch (type.toString()) {
            case "BOOLEAN" -> true;
            case "INT8" -> (byte) 1;
            case "INT16" -> (short) 258;
            case "INT32" -> 16909060;
            case "INT64" -> 72623859790382856L;
            case "UUID" -> new org.apache.kafka.common.Uuid(81985529216486895L, 81985529216486895L);
            case "STRING", "NULLABLE_STRING", "COMPACT_STRING", "COMPACT_NULLABLE_STRING" -> name + "-é";
            case "BYTES", "NULLABLE_BYTES", "COMPACT_BYTES", "COMPACT_NULLABLE_BYTES" -> ByteBuffer.wrap(new byte[] {1, 2, 3, 4});
            case "RECORDS", "NULLABLE_RECORDS", "COMPACT_RECORDS", "COMPACT_NULLABLE_RECORDS" ->
                MemoryRecords.withRecords(NOW, Compression.NONE, new SimpleRecord(NOW, null, new byte[] {7}));
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
        return ByteBuffer.wrap(text.getBytes(java.nio.charset.StandardCharsets.UTF_8));
    }

    static void print(PrintWriter out, String name, ByteBuffer batch) {
        byte[] bytes = new byte[batch.remaining()];
        batch.duplicate().get(bytes);
        out.println(name + " " + HexFormat.of().formatHex(bytes));
    }
}
