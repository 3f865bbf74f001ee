import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Future;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.header.Header;
import org.apache.kafka.common.header.internals.RecordHeader;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * Writes with Kafka's own client what it is told to, a command a line, its words separated by spaces:
 *
 * <p>use CODEC, or use CODEC TRANSACTIONAL_ID: the producer of what follows. record TOPIC PARTITION TIMESTAMP KEY VALUE
 * HEADERS: bytes are Base64, "-" for null, "" for empty, "N*BASE64" for repeated ones; headers are name:value,… begin,
 * abort, commit: a transaction. flush: sends the records since the last one, in one batch if they fit; answers with a line
 * that has each record's offset, or the class of the exception that refused it.
 *
 * <p>java -cp CLASSPATH Sender.java BOOTSTRAP_SERVERS
 */
public class Sender {
  public static void main(String[] args) throws Exception {
    BufferedReader commands = new BufferedReader(new InputStreamReader(System.in));
    List<Future<RecordMetadata>> sent = new ArrayList<>();
    KafkaProducer<byte[], byte[]> producer = null;
    for (String line = commands.readLine(); line != null; line = commands.readLine()) {
      String[] words = line.split(" ", -1);
      switch (words[0]) {
        case "use" -> {
          if (producer != null) producer.close();
          producer = open(args[0], words);
        }
        case "record" -> sent.add(producer.send(record(words)));
        case "begin" -> producer.beginTransaction();
        case "abort" -> producer.abortTransaction();
        case "commit" -> producer.commitTransaction();
        default -> {
          producer.flush();
          System.out.println(answers(sent));
          sent.clear();
        }
      }
    }
    if (producer != null) producer.close();
  }

  private static KafkaProducer<byte[], byte[]> open(String servers, String[] words) {
    Properties properties = new Properties();
    properties.put("bootstrap.servers", servers);
    properties.put("compression.type", words[1]);
    // What is sent between two flushes is one batch, as far as it fits.
    properties.put("linger.ms", "60000");
    properties.put("batch.size", "1000000");
    properties.put("max.request.size", "200000000");
    properties.put("buffer.memory", "300000000");
    if (words.length > 2) properties.put("transactional.id", words[2]);
    ByteArraySerializer bytes = new ByteArraySerializer();
    KafkaProducer<byte[], byte[]> producer = new KafkaProducer<>(properties, bytes, bytes);
    if (words.length > 2) producer.initTransactions();
    return producer;
  }

  private static ProducerRecord<byte[], byte[]> record(String[] words) {
    List<Header> headers = new ArrayList<>();
    for (String header : words[6].isEmpty() ? new String[0] : words[6].split(",")) {
      String[] parts = header.split(":", -1);
      headers.add(new RecordHeader(new String(bytes(parts[0])), bytes(parts[1])));
    }
    int partition = Integer.parseInt(words[2]);
    return new ProducerRecord<>(words[1], partition, Long.parseLong(words[3]), bytes(words[4]), bytes(words[5]), headers);
  }

  private static byte[] bytes(String text) {
    if (text.equals("-")) return null;
    int star = text.indexOf('*');
    byte[] once = Base64.getDecoder().decode(text.substring(star + 1));
    if (star < 0) return once;
    int times = Integer.parseInt(text.substring(0, star));
    byte[] all = new byte[once.length * times];
    for (int i = 0; i < times; i++) System.arraycopy(once, 0, all, i * once.length, once.length);
    return all;
  }

  private static String answers(List<Future<RecordMetadata>> sent) throws InterruptedException {
    List<String> answers = new ArrayList<>();
    for (Future<RecordMetadata> future : sent) {
      try {
        answers.add(String.valueOf(future.get().offset()));
      } catch (ExecutionException error) {
        answers.add(error.getCause().getClass().getSimpleName());
      }
    }
    return String.join(" ", answers);
  }
}
