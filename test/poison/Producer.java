import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Properties;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Writes what test/poison/codecs.test.ts expects with Kafka's own client, compressed by each codec, to partition 0 of the
 * topic "prefix-codec": 100 records and a large one, 10 of an aborted transaction, 10 of a committed one.
 *
 * java -cp CLASSPATH Producer.java BOOTSTRAP_SERVERS PREFIX CODEC...
 */
public class Producer {
  public static void main(String[] args) throws Exception {
    for (int i = 2; i < args.length; i++) produce(args[0], args[1] + "-" + args[i], args[i]);
  }

  private static void produce(String servers, String topic, String codec) throws Exception {
    Properties properties = new Properties();
    properties.put("bootstrap.servers", servers);
    properties.put("compression.type", codec);
    // Many records in one batch.
    properties.put("linger.ms", "1000");
    properties.put("batch.size", "900000");
    ByteArraySerializer bytes = new ByteArraySerializer();
    try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties, bytes, bytes)) {
      for (int i = 0; i < 100; i++) producer.send(record(topic, i, "plain"));
      producer.send(new ProducerRecord<>(topic, 0, 1_700_000_000_100L, utf8("large"), large()));
      producer.flush();
    }
    properties.put("transactional.id", topic);
    try (KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties, bytes, bytes)) {
      producer.initTransactions();
      producer.beginTransaction();
      for (int i = 0; i < 10; i++) producer.send(record(topic, i, "aborted"));
      producer.flush();
      producer.abortTransaction();
      producer.beginTransaction();
      for (int i = 0; i < 10; i++) producer.send(record(topic, i, "committed"));
      producer.commitTransaction();
    }
  }

  private static ProducerRecord<byte[], byte[]> record(String topic, int i, String kind) {
    byte[] key = i % 10 == 0 ? null : utf8("key " + i);
    byte[] value = i % 7 == 0 ? null : utf8((kind + " " + i + " ").repeat(i));
    List<Header> headers = new ArrayList<>();
    if (i % 3 > 0) {
      headers.add(new RecordHeader("kind", utf8(kind)));
      headers.add(new RecordHeader("constructor", null));
    }
    if (i % 3 > 1) headers.add(new RecordHeader("kind", utf8("again")));
    return new ProducerRecord<>(topic, 0, 1_700_000_000_000L + i, key, value, headers);
  }

  /** More than one block of every codec. */
  private static byte[] large() {
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < 40_000; i++) text.append((i * 7919) % 10_007).append(',');
    return utf8(text.toString());
  }

  private static byte[] utf8(String text) {
    return text.getBytes(StandardCharsets.UTF_8);
  }
}
