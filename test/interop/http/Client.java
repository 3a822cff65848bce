import java.net.Authenticator;
import java.net.InetSocketAddress;
import java.net.PasswordAuthentication;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.security.MessageDigest;
import java.util.HexFormat;
import java.util.TreeMap;

/** Says what java.net.http sees: java Client.java URL [PROXY_HOST PROXY_PORT USER PASSWORD] */
class Client {
  static String base;
  static HttpClient client;

  public static void main(String[] args) throws Exception {
    base = args[0];
    var builder = HttpClient.newBuilder().followRedirects(HttpClient.Redirect.NORMAL);
    if (args.length > 1) {
      builder.proxy(ProxySelector.of(new InetSocketAddress(args[1], Integer.parseInt(args[2]))));
      builder.authenticator(new Authenticator() {
        @Override
        protected PasswordAuthentication getPasswordAuthentication() {
          return new PasswordAuthentication(args[3], args[4].toCharArray());
        }
      });
    }
    client = builder.build();
    show("get", request("/echo?a=1&b=%2F..").header("X-Custom", "Mixed"));
    show("post", request("/echo").POST(BodyPublishers.ofString("hello")));
    show("put", request("/echo").PUT(BodyPublishers.ofByteArray(big())));
    show("expect", request("/echo").expectContinue(true).PUT(BodyPublishers.ofString("hello")));
    show("delete", request("/echo").DELETE());
    for (var path : new String[] {"/big", "/chunked", "/redirect", "/empty", "/missing", "/close"}) {
      show(path, request(path));
    }
  }

  static HttpRequest.Builder request(String path) {
    return HttpRequest.newBuilder(URI.create(base + path));
  }

  static byte[] big() throws Exception {
    var out = new java.io.ByteArrayOutputStream();
    for (int i = 0; i < 93_750; i++) {
      out.write(MessageDigest.getInstance("SHA-256").digest(String.valueOf(i).getBytes()));
    }
    return out.toByteArray();
  }

  static void show(String name, HttpRequest.Builder request) throws Exception {
    HttpResponse<byte[]> answer = client.send(request.build(), BodyHandlers.ofByteArray());
    var fields = new TreeMap<>(answer.headers().map());
    // Of the connection and of the version that is spoken on it.
    fields.remove(":status");
    fields.remove("transfer-encoding");
    fields.remove("connection");
    fields.remove("keep-alive");
    var digest = MessageDigest.getInstance("SHA-256").digest(answer.body());
    System.out.println(
        name + " " + answer.statusCode() + " " + answer.uri() + " " + fields + " "
            + HexFormat.of().formatHex(digest));
  }
}
