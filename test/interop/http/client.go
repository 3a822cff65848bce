// Says what net/http sees of each thing that the server does: client URL http1|http2
//
// Go goes by no proxy to localhost, whatever the variables say, so the one that https_proxy names is
// set here; names of other hosts need no such thing.
package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"sort"
	"strconv"
	"strings"
)

var base = os.Args[1]
var client = &http.Client{}

func show(name, method, path string, body io.Reader, headers ...string) {
	request, err := http.NewRequest(method, base+path, body)
	if err != nil {
		panic(err)
	}
	for _, header := range headers {
		field, value, _ := strings.Cut(header, ": ")
		request.Header.Set(field, value)
	}
	answer, err := client.Do(request)
	if err != nil {
		panic(err)
	}
	data, err := io.ReadAll(answer.Body)
	if err != nil {
		panic(err)
	}
	answer.Body.Close()
	fields := []string{}
	for field, values := range answer.Header {
		if field != "Connection" && field != "Keep-Alive" {
			fields = append(fields, field+": "+strings.Join(values, ", "))
		}
	}
	sort.Strings(fields)
	fmt.Println(name, answer.Proto, answer.Status, answer.Request.URL, fields, answer.Trailer,
		answer.ContentLength, fmt.Sprintf("%x", sha256.Sum256(data)))
}

func big() []byte {
	all := []byte{}
	for i := 0; i < 93750; i++ {
		digest := sha256.Sum256([]byte(strconv.Itoa(i)))
		all = append(all, digest[:]...)
	}
	return all
}

func main() {
	pem, err := os.ReadFile(os.Getenv("SSL_CERT_FILE"))
	if err != nil {
		panic(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(pem)
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		ForceAttemptHTTP2: os.Args[2] == "http2",
	}
	if proxy := os.Getenv("https_proxy"); proxy != "" {
		address, err := url.Parse(proxy)
		if err != nil {
			panic(err)
		}
		transport.Proxy = http.ProxyURL(address)
	}
	client.Transport = transport
	show("get", "GET", "/echo?a=1&b=%2F..", nil, "X-Custom: Mixed", "Cookie: a=b")
	show("post", "POST", "/echo", strings.NewReader("hello"))
	show("put", "PUT", "/echo", bytes.NewReader(big()))
	show("expect", "PUT", "/echo", strings.NewReader("hello"), "Expect: 100-continue")
	// A reader of unknown length: in chunks, or in frames.
	show("stream", "POST", "/echo", io.MultiReader(strings.NewReader("one"), strings.NewReader("two")))
	show("head", "HEAD", "/big", nil)
	for _, path := range []string{"/big", "/chunked", "/gzip", "/redirect", "/empty", "/missing"} {
		show(path, "GET", path, nil)
	}
}
