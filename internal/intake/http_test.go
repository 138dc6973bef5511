package intake_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/cloudevents/sdk-go/v2/binding"
	cloudevents "github.com/cloudevents/sdk-go/v2/event"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"
	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/internal/intake"
)

func headers(lines ...string) http.Header {
	h := http.Header{}
	for _, line := range lines {
		name, value, _ := strings.Cut(line, ": ")
		h.Add(name, value)
	}
	return h
}

// binaryHeaders are those of the CloudEvent of these tests, with other lines behind them.
func binaryHeaders(lines ...string) http.Header {
	return headers(append([]string{"ce-specversion: 1.0", "ce-id: A1", "ce-source: /orders", "ce-type: orders-api.order.create", "ce-subject: 7"}, lines...)...)
}

func TestHTTP(t *testing.T) {
	want := eureka.Event{ID: cloudID, Service: "orders-api", ModelType: "order", ModelID: "7", Event: "create", Data: json.RawMessage(`{"a":1}`)}
	with := func(change func(*eureka.Event)) []eureka.Event {
		ev := want
		change(&ev)
		return []eureka.Event{ev}
	}
	timed := with(func(e *eureka.Event) { e.TS = 1700000000500 })
	plain := []eureka.Event{{ChannelID: "a", Data: json.RawMessage(`1`)}}
	for name, tt := range map[string]struct {
		header http.Header
		body   string
		want   []eureka.Event
	}{
		"curl":                   {headers("Content-Type: application/x-www-form-urlencoded"), `{"channelId":"a","data":1}`, plain},
		"no content type":        {headers(), `{"channelId":"a","data":1}`, plain},
		"text":                   {headers("Content-Type: text/plain; charset=UTF-8"), `{"channelId":"a","data":1}`, plain},
		"structured":             {headers("Content-Type: application/cloudevents+json; charset=utf-8"), cloud, timed},
		"structured as JSON":     {headers("Content-Type: application/json"), cloud, timed},
		"batch":                  {headers("Content-Type: application/cloudevents-batch+json"), "[" + cloud + "," + cloud + "]", append(timed, timed...)},
		"empty batch":            {headers("Content-Type: application/cloudevents-batch+json"), "[]", nil},
		"binary":                 {binaryHeaders("Content-Type: application/json"), ` {"a":1} `, []eureka.Event{want}},
		"binary, no type":        {binaryHeaders(), `{"a":1}`, []eureka.Event{want}},
		"binary, no data":        {binaryHeaders("Content-Type: application/json"), ``, with(func(e *eureka.Event) { e.Data = json.RawMessage(`null`) })},
		"binary text":            {binaryHeaders("Content-Type: text/plain"), `hello`, with(func(e *eureka.Event) { e.Data = json.RawMessage(`"hello"`) })},
		"binary xml":             {binaryHeaders("Content-Type: application/xml"), `<a/>`, with(func(e *eureka.Event) { e.Data = json.RawMessage(`"\u003ca/\u003e"`) })},
		"binary, encoded":        {binaryHeaders("ce-event: %E2%82%AC paid"), `{"a":1}`, with(func(e *eureka.Event) { e.Event = "€ paid" })},
		"binary, nearly encoded": {binaryHeaders("ce-event: 100%"), `{"a":1}`, with(func(e *eureka.Event) { e.Event = "100%" })},
		"structured, headers":    {binaryHeaders("Content-Type: application/cloudevents+json", "ce-time: 2023-11-14T22:13:20.5Z"), cloud, timed}, // CloudEvents allows them beside it
		"batch, headers":         {binaryHeaders("Content-Type: application/cloudevents-batch+json"), "[" + cloud + "]", timed},
		"binary, an extension":   {binaryHeaders("ce-traceparent: 00-1-2-01"), `{"a":1}`, []eureka.Event{want}},
		"a notification":         {headers("Content-Type: text/plain; charset=UTF-8"), envelope(t, `{"channelId":"a","data":1}`, ""), []eureka.Event{{ID: "message-355cb346719c12f3e1cac1ef7f7a3b96", ChannelID: "a", Data: json.RawMessage(`1`)}}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := intake.HTTP(tt.header, []byte(tt.body))
			if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestHTTPRefused(t *testing.T) {
	structured := headers("Content-Type: application/cloudevents+json")
	batch := headers("Content-Type: application/cloudevents-batch+json")
	for name, tt := range map[string]struct {
		header http.Header
		body   string
		want   string
	}{
		"an image":               {headers("Content-Type: image/png"), `{}`, "Content-Type: is not JSON; send application/json, or the headers of a CloudEvent in binary mode (ce-specversion)"},
		"a broken type":          {headers("Content-Type: a/b/c"), `{}`, "Content-Type: cannot be read; send application/json"},
		"another format":         {headers("Content-Type: application/cloudevents+avro"), `{}`, "Content-Type: is a format of CloudEvents that is not read here; send application/cloudevents+json"},
		"structured, not one":    {structured, `{"channelId":"a","data":1}`, "id: is missing; a CloudEvent has specversion, id, source and type"},
		"structured, an array":   {structured, "[" + cloud + "]", "body: is not a JSON object"},
		"structured, no UTF-8":   {structured, "\xff", "body: is not valid UTF-8"},
		"structured, too deep":   {structured, strings.Replace(cloud, `{"a":1}`, strings.Repeat("[", 64)+strings.Repeat("]", 64), 1), "the JSON is nested deeper than 64 levels"},
		"batch, one":             {batch, cloud, "body: is not a JSON array"},
		"batch, null":            {batch, `null`, "body: is not a JSON array"},
		"batch, cut off":         {batch, `[` + cloud, "body: is not valid JSON"},
		"batch, a native event":  {batch, `[` + cloud + `,{"channelId":"a","data":1}]`, "event 1: id: is missing; a CloudEvent has specversion, id, source and type"},
		"headers of another":     {binaryHeaders("Content-Type: application/cloudevents+avro"), `{}`, "Content-Type: is a format of CloudEvents that is not read here; send application/cloudevents+json"},
		"binary, another":        {binaryHeaders("ce-specversion: 0.3"), `{}`, "ce-specversion: must be there once, as UTF-8 with the rest percent-encoded"},
		"binary, an old version": {headers("ce-specversion: 0.3", "ce-id: 1", "ce-source: s", "ce-type: a.b"), `{}`, `specversion: must be "1.0"`},
		"binary, a new version":  {headers("ce-specversion: 2.0", "ce-id: 1", "ce-source: s", "ce-type: a.b"), `{}`, `specversion: must be "1.0"`},
		"binary, no id":          {headers("ce-specversion: 1.0", "ce-source: s", "ce-type: a.b"), `{}`, "id: is missing; a CloudEvent has specversion, id, source and type"},
		"binary, no JSON":        {binaryHeaders("Content-Type: application/json"), `{`, "body: is not valid JSON; say what it is with datacontenttype"},
		"binary, too deep":       {binaryHeaders(), strings.Repeat("[", 65) + strings.Repeat("]", 65), "the JSON is nested deeper than 64 levels"},
		"binary, bytes":          {binaryHeaders("Content-Type: image/png"), "\xff", "body: is neither JSON nor text"},
		"binary, a name":         {binaryHeaders("ce-bad-name: 1"), `1`, "bad-name: is no attribute as CloudEvents 1.0 has them"},
		"binary, no URI":         {headers("ce-specversion: 1.0", "ce-id: 1", "ce-source: %25", "ce-type: a.b"), `1`, "source: is no attribute as CloudEvents 1.0 has them"},
		"binary, no time":        {binaryHeaders("ce-time: noon"), `1`, "time: must be a time of RFC 3339 since 1970"},
		"an object for a value":  {structured, strings.Replace(cloud, `"comexampleext":3`, `"comexampleext":{}`, 1), "comexampleext: must be a string, a boolean or an integer of 32 bits, as attributes of a CloudEvent are"},
		"a broken data type":     {structured, strings.Replace(cloud, `"comexampleext":3`, `"datacontenttype":";"`, 1), "datacontenttype: is no attribute as CloudEvents 1.0 has them"},
	} {
		got, err := intake.HTTP(tt.header, []byte(tt.body))
		if err == nil || eureka.CodeOf(err) != eureka.CodeInvalid || eureka.MessageOf(err) != tt.want {
			t.Errorf("%s: got %v, %v\nwant %s", name, got, err, tt.want)
		}
	}
}

// TestSameIdentity: one CloudEvent is the same event by each way it can come.
func TestSameIdentity(t *testing.T) {
	sent := cloudevents.New()
	sent.SetID("A1")
	sent.SetSource("https://shop.example/orders?x=1")
	sent.SetType("orders-api.order.create")
	sent.SetSubject("ü 7")
	sent.SetTime(time.UnixMilli(1700000000500))
	sent.SetExtension("colour", "red")
	sent.SetExtension("number", 7)
	if err := sent.SetData("application/json", map[string]int{"a": 1}); err != nil {
		t.Fatal(err)
	}
	// What the SDK's own HTTP client puts on a request.
	request := func(ctx context.Context) (http.Header, []byte) {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://x", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		if err := cehttp.WriteRequest(ctx, binding.ToMessage(&sent), r); err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.Header, body
	}
	text, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	ways := map[string]func() ([]eureka.Event, error){
		"binary": func() ([]eureka.Event, error) {
			h, b := request(binding.WithForceBinary(t.Context()))
			return intake.HTTP(h, b)
		},
		"structured": func() ([]eureka.Event, error) {
			h, b := request(binding.WithForceStructured(t.Context()))
			return intake.HTTP(h, b)
		},
		"batch": func() ([]eureka.Event, error) {
			return intake.HTTP(headers("Content-Type: application/cloudevents-batch+json"), []byte("["+string(text)+"]"))
		},
		"queue": func() ([]eureka.Event, error) { return intake.Queued(intake.Message{ID: "1", Body: string(text)}) },
		"topic to queue": func() ([]eureka.Event, error) {
			return intake.Queued(intake.Message{ID: "2", Body: envelope(t, string(text), "")})
		},
		"attributes": func() ([]eureka.Event, error) {
			h, b := request(binding.WithForceBinary(t.Context()))
			m := intake.Message{ID: "3", Body: string(b), Attributes: map[string]string{"content-type": h.Get("Content-Type")}}
			for name := range maps.Keys(h) {
				m.Attributes[strings.ToLower(name)] = h.Get(name)
			}
			return intake.Queued(m)
		},
	}
	var want []eureka.Event
	for name, way := range ways {
		got, err := way()
		if err != nil || len(got) != 1 {
			t.Fatalf("%s: %v, %v", name, got, err)
		}
		if want == nil {
			want = got
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got):\n%s", name, diff)
		}
	}
	if want[0].ModelID != "ü 7" || want[0].Event != "create" || want[0].TS != 1700000000500 || !strings.HasPrefix(want[0].ID, "ce-") {
		t.Errorf("%+v", want[0])
	}
}

const bridged = `{"version":"0","id":"17793124-05d4","detail-type":"order.create","source":"orders-api","account":"123456789012","time":"2023-11-14T22:13:20Z","region":"eu-west-1","resources":[],"detail":{"a":1}}`

func TestBridge(t *testing.T) {
	change := func(from, to string) string { return strings.Replace(bridged, from, to, 1) }
	base := eureka.Event{Service: "orders-api", ModelType: "order", Event: "create", Data: json.RawMessage(`{"a":1}`), TS: 1700000000000}
	for name, tt := range map[string]struct {
		body   string
		change func(*eureka.Event)
	}{
		"by source and detail-type": {bridged, func(*eureka.Event) {}},
		"a kind of AWS's":           {change("order.create", "Object Created"), func(e *eureka.Event) { e.ModelType, e.Event = "Object Created", "" }},
		"no detail":                 {change(`{"a":1}`, "null"), func(e *eureka.Event) { e.Data = json.RawMessage("null") }},
		"a native event inside": {change(`{"a":1}`, `{"service":"shop","modelType":"order","modelId":"7","event":"paid","data":2}`), func(e *eureka.Event) {
			e.Service, e.ModelID, e.Event, e.Data = "shop", "7", "paid", json.RawMessage("2")
		}},
		"with an id of its own": {change(`{"a":1}`, `{"id":"e1","channelId":"room","data":2}`), func(e *eureka.Event) {
			*e = eureka.Event{ID: "e1", ChannelID: "room", Data: json.RawMessage("2"), TS: e.TS}
		}},
	} {
		want := base
		tt.change(&want)
		for way, decode := range map[string]func() ([]eureka.Event, error){
			"HTTP":  func() ([]eureka.Event, error) { return intake.HTTP(headers(), []byte(tt.body)) },
			"queue": func() ([]eureka.Event, error) { return intake.Queued(intake.Message{ID: "m", Body: tt.body}) },
			"topic": func() ([]eureka.Event, error) {
				return intake.Queued(intake.Message{ID: "m", Body: envelope(t, tt.body, "")})
			},
		} {
			got, err := decode()
			if err != nil || len(got) != 1 {
				t.Errorf("%s by %s: %v, %v", name, way, got, err)
				continue
			}
			if want.ID == "" && strings.HasPrefix(got[0].ID, "eb-") {
				want.ID = got[0].ID
			}
			if diff := cmp.Diff(want, got[0]); diff != "" {
				t.Errorf("%s by %s: (-want +got):\n%s", name, way, diff)
			}
		}
	}
	for body, want := range map[string]string{
		change(`"17793124-05d4"`, `null`):                              "id: is missing; an event of EventBridge has id, source, detail-type and detail",
		change(`"orders-api"`, `7`):                                    "source: must be a string",
		change(`"order.create"`, `""`):                                 "detail-type: is missing; an event of EventBridge has id, source, detail-type and detail",
		change(`"2023-11-14T22:13:20Z"`, `"today"`):                    "time: must be a time of RFC 3339 since 1970",
		change(`{"a":1}`, `{"channelId":"a","data":1,"colour":"red"}`): "detail: colour: is no field of an event",
		change(`order.create`, `.create`):                              "an event needs service and modelType, or a channelId",
	} {
		if _, err := intake.Events([]byte(body)); eureka.MessageOf(err) != want {
			t.Errorf("%s: %v, want %s", body, err, want)
		}
	}
}

func FuzzHTTP(f *testing.F) {
	f.Add("application/cloudevents+json", "", "", []byte(cloud))
	f.Add("application/cloudevents-batch+json", "", "", []byte("["+cloud+"]"))
	f.Add("text/plain", "orders.order", "%41", []byte("hello"))
	f.Add("application/json", "", "", []byte(bridged))
	f.Add("", "", "", []byte(`{"specversion":"1.0","data_base64":7,"id":"1","source":"s","type":"a.b"}`))
	f.Fuzz(func(t *testing.T, kind, cloudType, id string, body []byte) {
		h := http.Header{"Content-Type": {kind}}
		if cloudType != "" {
			h["Ce-Specversion"], h["Ce-Type"], h["Ce-Source"], h["Ce-Id"] = []string{"1.0"}, []string{cloudType}, []string{"/s"}, []string{id}
		}
		events, err := intake.HTTP(h, bytes.Clone(body))
		check(t, body, events, err)
	})
}

func FuzzBridge(f *testing.F) {
	f.Add("order.create", "orders-api", "1", "2023-11-14T22:13:20Z", []byte(`{"a":1}`))
	f.Add("x", "y", "z", "", []byte(`{"channelId":"a","data":1}`))
	f.Fuzz(func(t *testing.T, kind, source, id, at string, detail []byte) {
		if !json.Valid(detail) {
			detail = []byte("null")
		}
		body, err := json.Marshal(map[string]any{"detail-type": kind, "source": source, "id": id, "time": at, "detail": json.RawMessage(detail)})
		if err != nil {
			t.Fatal(err)
		}
		events, err := intake.Events(body)
		check(t, body, events, err)
		for _, ev := range events {
			if ev.ID == "" {
				t.Fatalf("%q made an event without an id", body)
			}
		}
	})
}
