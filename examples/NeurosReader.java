import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.File;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.BinaryDecoder;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.CommitFailedException;
import org.apache.kafka.clients.consumer.ConsumerConfig;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.errors.RebalanceInProgressException;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Says something for each alert, and takes it back when the measurement behind it was corrected, as examples/neuros.ts does.
 * Needs kafka-clients, org.apache.avro:avro and Jackson, which avro brings along. In a clone, next to
 * {@code npm start -- --no-reader}:
 *
 * <pre>java -cp CLASSPATH examples/NeurosReader.java</pre>
 *
 * What it remembers is lost with the process. docs/neuros.md has the rules that it follows.
 */
public final class NeurosReader {
  static final String BROKERS = env("KAFKA_BOOTSTRAP_SERVERS", "localhost:19092");
  static final String REGISTRY = env("SCHEMA_REGISTRY_URL", "http://localhost:18081/apis/ccompat/v7");
  static final String PREFIX = env("TOPIC_PREFIX", "");

  static final Map<String, String> ADVICE =
      Map.of(
          "immediate_stress_protocol", "put everything down and breathe with me for five minutes",
          "breathing_exercise", "take ten slow breaths before you go on",
          "sleep_optimization", "go to bed an hour earlier tonight");

  static volatile boolean isStopping = false;
  static final AtomicLong events = new AtomicLong();

  /** Every event, once as long as the process lives. A coach would store it here. */
  static void onEvent(GenericRecord event) {
    events.incrementAndGet();
  }

  static void onAlert(GenericRecord alert, GenericRecord event) {
    String recommendation = text(alert, "recommendation");
    say("announced", alert, event, ADVICE.getOrDefault(recommendation, recommendation));
  }

  static void onWithdrawn(GenericRecord alert, GenericRecord event) {
    say("withdrawn", alert, event, "never mind, that was a wrong measurement");
  }

  static void onErased(String userId) {
    System.out.println("erased " + userId);
  }

  static void say(String what, GenericRecord alert, GenericRecord event, String text) {
    System.out.printf(
        "%s %s  to %s (%s): %s%n",
        what, text(alert, "alert_id"), text(event, "user_id"), text(event, "device_type"), text);
  }

  /** The record is no event and never will be: another attempt would not help. */
  static final class Unreadable extends Exception {
    Unreadable(String reason) {
      super(reason);
    }
  }

  /** Five bytes say by which schema the rest was written; the own one says how it is read. */
  static final class Decoder {
    private final HttpClient http = HttpClient.newHttpClient();
    private final Schema contract;
    private final Map<Integer, Schema> writers = new ConcurrentHashMap<>();

    Decoder(File avsc) throws IOException {
      contract = new Schema.Parser().parse(avsc);
    }

    GenericRecord decode(byte[] value) throws Unreadable, IOException, InterruptedException {
      if (value.length < 5 || value[0] != 0) throw new Unreadable("not_wire_format");
      Schema writer = writer(ByteBuffer.wrap(value, 1, 4).getInt());
      BinaryDecoder rest = DecoderFactory.get().binaryDecoder(value, 5, value.length - 5, null);
      GenericRecord event;
      boolean isWhole;
      try {
        event = new GenericDatumReader<GenericRecord>(writer, contract).read(null, rest);
        isWhole = rest.isEnd();
      } catch (IOException | RuntimeException error) {
        // Its message may quote the event.
        throw new Unreadable(error.getClass().getSimpleName());
      }
      if (!isWhole) throw new Unreadable("trailing_bytes");
      return event;
    }

    private Schema writer(int id) throws Unreadable, IOException, InterruptedException {
      Schema known = writers.get(id);
      if (known != null) return known;
      if (id < 0) throw new Unreadable("unknown_schema");
      HttpRequest request =
          HttpRequest.newBuilder(URI.create(REGISTRY + "/schemas/ids/" + id)).timeout(Duration.ofSeconds(5)).build();
      HttpResponse<String> answer = http.send(request, HttpResponse.BodyHandlers.ofString());
      if (answer.statusCode() == 404) throw new Unreadable("unknown_schema");
      if (answer.statusCode() != 200) throw new IOException("the registry answers " + answer.statusCode());
      String avsc = new ObjectMapper().readTree(answer.body()).get("schema").asText();
      Schema schema = new Schema.Parser().parse(avsc);
      writers.put(id, schema);
      return schema;
    }
  }

  /** Versions of a resource are ordered by generation, then revision, then raw.offset. */
  record Version(long generation, long revision, long offset) implements Comparable<Version> {
    static Version of(GenericRecord event) {
      long offset = (long) ((GenericRecord) event.get("raw")).get("offset");
      return new Version((long) event.get("generation"), (long) event.get("revision"), offset);
    }

    @Override
    public int compareTo(Version other) {
      return Comparator.comparingLong(Version::generation)
          .thenComparingLong(Version::revision)
          .thenComparingLong(Version::offset)
          .compare(this, other);
    }
  }

  /** The newest version read of a resource, and the alerts that it names. */
  record Row(Version version, Set<String> names) {}

  /** What this process knows of one user's device. Priorities are read next to each other, so its methods lock it. */
  static final class Ledger {
    /** event_id and generation of the last events. */
    private final Map<String, Boolean> handled = bounded(1_000);

    private final Map<String, Row> rows = new HashMap<>();
    /** Alerts whose first event was read. */
    private final Set<String> known = new HashSet<>();
    /** By alert_id, as they were announced. */
    private final Map<String, GenericRecord> announced = new HashMap<>();

    synchronized void handle(GenericRecord event) {
      String name = text(event, "event_id") + " " + event.get("generation");
      if (handled.containsKey(name)) return;
      onEvent(event);
      handleAlerts(event);
      handled.put(name, true);
    }

    private void handleAlerts(GenericRecord event) {
      List<GenericRecord> triggers = list(event, "triggers");
      GenericRecord superseded = (GenericRecord) event.get("supersedes");
      if (triggers.isEmpty() && superseded == null) return;
      Version version = Version.of(event);
      Map<String, GenericRecord> raised = new LinkedHashMap<>();
      for (GenericRecord alert : triggers) raised.putIfAbsent(text(alert, "alert_id"), alert);
      Row row = rows.getOrDefault(text(event, "resource_id"), new Row(version, Set.of()));
      if (version.compareTo(row.version()) >= 0) {
        rows.put(text(event, "resource_id"), new Row(version, raised.keySet()));
        Set<String> before = new LinkedHashSet<>(row.names());
        if (superseded != null)
          for (Object alertId : (List<?>) superseded.get("alert_ids")) before.add(alertId.toString());
        for (String alertId : before)
          if (announced.containsKey(alertId) && !isNamed(alertId)) onWithdrawn(announced.remove(alertId), event);
      }
      for (GenericRecord alert : triggers) if ((boolean) alert.get("first")) known.add(text(alert, "alert_id"));
      for (Object flag : (List<?>) event.get("flags")) if (flag.toString().equals("stale")) return;
      raised.forEach(
          (alertId, alert) -> {
            if (!known.contains(alertId) || announced.containsKey(alertId) || !isNamed(alertId)) return;
            announced.put(alertId, alert);
            onAlert(alert, event);
          });
    }

    private boolean isNamed(String alertId) {
      return rows.values().stream().anyMatch(row -> row.names().contains(alertId));
    }
  }

  /** By device and user. Those of the users whose events are longest ago go first. */
  static final Map<List<String>, Ledger> ledgers = bounded(50_000);

  static Ledger ledgerOf(GenericRecord event) {
    synchronized (ledgers) {
      List<String> key = List.of(text(event, "device_type"), text(event, "user_id"));
      return ledgers.computeIfAbsent(key, unused -> new Ledger());
    }
  }

  /** One consumer and group for each priority, so that a backlog of one does not hold up another. */
  static final class Reader extends Thread {
    private final String priority;
    private final Decoder decoder;
    private final KafkaConsumer<String, byte[]> consumer;

    Reader(String priority, Decoder decoder) {
      super(priority);
      this.priority = priority;
      this.decoder = decoder;
      this.consumer =
          new KafkaConsumer<>(
              Map.of(
                  ConsumerConfig.BOOTSTRAP_SERVERS_CONFIG, BROKERS,
                  ConsumerConfig.GROUP_ID_CONFIG, PREFIX + "neuros-java-" + priority,
                  ConsumerConfig.AUTO_OFFSET_RESET_CONFIG, "earliest",
                  // The default would hand over what a transaction has taken back.
                  ConsumerConfig.ISOLATION_LEVEL_CONFIG, "read_committed",
                  ConsumerConfig.ENABLE_AUTO_COMMIT_CONFIG, false),
              new StringDeserializer(),
              new ByteArrayDeserializer());
    }

    @Override
    public void run() {
      try (consumer) {
        consumer.subscribe(List.of(PREFIX + "biometric-events." + priority));
        while (!isStopping) {
          for (ConsumerRecord<String, byte[]> record : consumer.poll(Duration.ofMillis(200))) handle(record);
          commit();
        }
      } catch (Exception error) {
        // Ends the process; the event is read again by the next one.
        System.err.println(error.getClass().getName() + " while reading " + priority);
        Runtime.getRuntime().halt(1);
      }
    }

    private void commit() {
      try {
        consumer.commitSync();
      } catch (CommitFailedException | RebalanceInProgressException moved) {
        // A partition goes to another reader, who reads these records again.
      }
    }

    private void handle(ConsumerRecord<String, byte[]> record) throws IOException, InterruptedException {
      try {
        if (record.value() != null) {
          GenericRecord event = decoder.decode(record.value());
          ledgerOf(event).handle(event);
        } else if (record.key() != null) {
          onErased(record.key());
          synchronized (ledgers) {
            ledgers.keySet().removeIf(key -> key.get(1).equals(record.key()));
          }
        }
      } catch (Unreadable error) {
        // A coach would append it to a topic of its own.
        String place = record.topic() + "-" + record.partition() + "@" + record.offset();
        System.err.println("skipped " + place + ": " + error.getMessage());
      }
    }
  }

  public static void main(String[] args) throws Exception {
    Decoder decoder = new Decoder(new File("schemas/biometric-event.avsc"));
    List<Reader> readers = new ArrayList<>();
    for (String priority : List.of("high", "medium", "normal")) readers.add(new Reader(priority, decoder));
    Runtime.getRuntime()
        .addShutdownHook(
            new Thread(
                () -> {
                  isStopping = true;
                  for (Reader reader : readers) {
                    try {
                      reader.join(10_000);
                    } catch (InterruptedException error) {
                      return;
                    }
                  }
                  System.out.println("handled " + events + " events");
                }));
    for (Reader reader : readers) reader.start();
  }

  static String text(GenericRecord record, String field) {
    return record.get(field).toString();
  }

  @SuppressWarnings("unchecked")
  static List<GenericRecord> list(GenericRecord record, String field) {
    return (List<GenericRecord>) record.get(field);
  }

  static <K, V> Map<K, V> bounded(int most) {
    return new LinkedHashMap<>(16, 0.75f, true) {
      @Override
      protected boolean removeEldestEntry(Map.Entry<K, V> eldest) {
        return size() > most;
      }
    };
  }

  static String env(String name, String byDefault) {
    String value = System.getenv(name);
    return value == null || value.isEmpty() ? byDefault : value;
  }
}
