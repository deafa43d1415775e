// Which partition Kafka's own Java code takes for a key. Input: one key in hex a line. Output: the key, then its
// partition among 1, 3, 4, 7, 12 and 64, separated by tabs.
// java -cp kafka-clients.jar Murmur2Pairs.java <keys >murmur2.tsv
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.HexFormat;
import org.apache.kafka.common.utils.Utils;

public class Murmur2Pairs {
    private static final int[] COUNTS = {1, 3, 4, 7, 12, 64};

    public static void main(String[] arguments) throws Exception {
        BufferedReader keys = new BufferedReader(new InputStreamReader(System.in));
        for (String key = keys.readLine(); key != null; key = keys.readLine()) {
            StringBuilder line = new StringBuilder(key);
            for (int count : COUNTS) {
                line.append('\t').append(Utils.toPositive(Utils.murmur2(HexFormat.of().parseHex(key))) % count);
            }
            System.out.println(line);
        }
    }
}
