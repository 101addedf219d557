import java.io.BufferedWriter;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.Future;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/** The round trip of ../README.md with kafka-clients, and the ordered load that is sent through the resetting proxy. */
public class RoundTrip {
    static final Duration TIMEOUT = Duration.ofSeconds(60);

    static byte[] unhex(String text) {
        return text.equals("-") ? null : HexFormat.of().parseHex(text);
    }

    static String hex(byte[] data) {
        return data == null ? "-" : HexFormat.of().formatHex(data);
    }

    static ProducerRecord<byte[], byte[]> parse(String topic, String line) {
        String[] field = line.split("\t", -1);
        var record = new ProducerRecord<>(topic, 0, Long.parseLong(field[0]), unhex(field[1]), unhex(field[2]));
        for (String pair : field[3].isEmpty() ? new String[0] : field[3].split(",")) {
            String[] half = pair.split("=", -1);
            record.headers().add(new String(unhex(half[0]), StandardCharsets.UTF_8), unhex(half[1]));
        }
        return record;
    }

    static String format(ConsumerRecord<byte[], byte[]> record) {
        List<String> pairs = new ArrayList<>();
        for (Header header : record.headers())
            pairs.add(hex(header.key().getBytes(StandardCharsets.UTF_8)) + "=" + hex(header.value()));
        return record.offset() + "\t" + record.timestamp() + "\t" + hex(record.key()) + "\t" + hex(record.value())
            + "\t" + String.join(",", pairs) + "\n";
    }

    static Properties properties(String bootstrap, Object... settings) {
        Properties properties = new Properties();
        properties.put("bootstrap.servers", bootstrap);
        for (int i = 0; i < settings.length; i += 2)
            properties.put(settings[i], settings[i + 1]);
        return properties;
    }

    static KafkaProducer<byte[], byte[]> producer(Properties properties) {
        return new KafkaProducer<>(properties, new ByteArraySerializer(), new ByteArraySerializer());
    }

    static void produce(String bootstrap, List<String> lines, String topic, String run) throws Exception {
        boolean plain = run.equals("plain");
        try (Admin admin = Admin.create(properties(bootstrap))) {
            admin.createTopics(List.of(new NewTopic(topic, 1, (short) 1))).all().get();
        }
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = producer(properties(bootstrap, "enable.idempotence", !plain, "acks", plain ? "1" : "all",
                "compression.type", plain ? "none" : run))) {
            for (String line : lines)
                sent.add(producer.send(parse(topic, line)));
        }
        for (var future : sent)
            future.get();
    }

    static void read(KafkaConsumer<byte[], byte[]> consumer, TopicPartition partition, long offset, long end, Path out)
        throws Exception {
        long deadline = System.nanoTime() + TIMEOUT.toNanos();
        consumer.seek(partition, offset);
        try (BufferedWriter writer = Files.newBufferedWriter(out)) {
            while (consumer.position(partition) < end) {
                if (System.nanoTime() > deadline)
                    throw new IllegalStateException("still at offset " + consumer.position(partition) + " of " + end);
                for (var record : consumer.poll(Duration.ofSeconds(1)))
                    writer.write(format(record));
            }
        }
    }

    static void consume(String bootstrap, Path out, long fromOffset, long fromTime, String topic, String run)
        throws Exception {
        var partition = new TopicPartition(topic, 0);
        try (var consumer = new KafkaConsumer<>(properties(bootstrap), new ByteArrayDeserializer(),
                new ByteArrayDeserializer())) {
            consumer.assign(List.of(partition));
            long end = consumer.endOffsets(List.of(partition)).get(partition);
            read(consumer, partition, fromOffset, end, out.resolve(run + ".offset"));
            long found = consumer.offsetsForTimes(Map.of(partition, fromTime)).get(partition).offset();
            read(consumer, partition, found, end, out.resolve(run + ".time"));
        }
    }

    /** Numbers 0 .. count - 1, through whatever is between us and the broker. */
    static void sendOrdered(String bootstrap, String topic, int count, String idempotence) throws Exception {
        List<Future<RecordMetadata>> sent = new ArrayList<>();
        try (var producer = producer(properties(bootstrap, "enable.idempotence", idempotence, "batch.size", 4096,
                "reconnect.backoff.ms", 5, "reconnect.backoff.max.ms", 20, "retry.backoff.ms", 5))) {
            for (int i = 0; i < count; i++)
                sent.add(producer.send(new ProducerRecord<>(topic, 0, null,
                    String.format("%d %0100d", i, 0).getBytes(StandardCharsets.US_ASCII))));
        }
        for (var future : sent)
            future.get();
    }

    public static void main(String[] argument) throws Exception {
        if (argument[0].equals("ordered")) {
            sendOrdered(argument[1], argument[2], Integer.parseInt(argument[3]), argument[4]);
            return;
        }
        List<String> lines = Files.readAllLines(Path.of(argument[2]));
        for (int i = 7; i < argument.length; i++) {
            String topic = argument[6] + "-" + argument[i];
            if (!argument[0].equals("consume"))
                produce(argument[1], lines, topic, argument[i]);
            if (!argument[0].equals("produce"))
                consume(argument[1], Path.of(argument[3]), Long.parseLong(argument[4]), Long.parseLong(argument[5]),
                    topic, argument[i]);
        }
    }
}
