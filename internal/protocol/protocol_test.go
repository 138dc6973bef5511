package protocol_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"eureka"
	"eureka/internal/protocol"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestFrames parses every line of testdata/frames.in and compares what came of it with the golden file: the one table of
// what clients may send and what each fault is called.
func TestFrames(t *testing.T) {
	in, err := os.ReadFile(filepath.Join("testdata", "frames.in"))
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for line := range strings.Lines(string(in)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" || strings.HasPrefix(line, "#") {
			out.WriteString(line + "\n")
			continue
		}
		f, err := protocol.Parse([]byte(line))
		out.WriteString(line + "\n")
		if err != nil {
			out.WriteString("  " + string(protocol.EncodeError(f.Ref, "", err)) + "\n")
			continue
		}
		parsed, err := json.Marshal(f)
		if err != nil {
			t.Fatal(err)
		}
		out.WriteString("  " + string(parsed) + "\n")
	}
	golden(t, "frames.golden", out.String())
}

// TestEncode shows one frame of each kind that the service sends.
func TestEncode(t *testing.T) {
	body := func(m eureka.Message) []byte {
		b, err := protocol.MessageBody(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	order := body(eureka.Message{Action: "message", Event: "message", Data: json.RawMessage(`{"message":"hello"}`), TS: 1700000000000})
	frames := []struct {
		name  string
		frame []byte
	}{
		{"message", protocol.AppendMessage(nil, "1000001", order)},
		{"the same by alias", protocol.AppendMessage(nil, "orders-api:order", order)},
		{"to a socket", protocol.AppendMessage(nil, "", order)},
		{"unicode event", protocol.AppendMessage(nil, "A", body(eureka.Message{Action: "message", Event: "주문 \"<&>\"\t", Data: json.RawMessage(`null`)}))},
		{"join", protocol.AppendMessage(nil, "room", body(eureka.Message{Action: "join", Data: json.RawMessage(`{"id":"s1","user":"ann"}`)}))},
		{"channel gap", protocol.AppendMessage(nil, "room", protocol.ErrorBody(eureka.Errorf(eureka.CodeGap, "messages may have been missed")))},
		{"pong", protocol.Reply{Action: "pong", Data: json.RawMessage(`"hello"`)}.Encode()},
		{"reply with ref", protocol.Reply{Action: "subscribed", Ref: json.RawMessage(`"a1"`), Channel: "A", Data: json.RawMessage(`{}`)}.Encode()},
		{"reply with number ref", protocol.Reply{Action: "unsubscribed", Ref: json.RawMessage(`7`), Channel: "A"}.Encode()},
		{"error", protocol.EncodeError(json.RawMessage(`1`), "A", eureka.Errorf(eureka.CodeNotFound, "there is no channel %q", "A"))},
		{"foreign error", protocol.EncodeError(nil, "", errors.New("dial tcp 10.0.0.1: secret"))},
		{"bye, come back", protocol.EncodeBye(eureka.CloseRestart, "the node restarts", 1500)},
		{"bye, stay away", protocol.EncodeBye(eureka.CloseKicked, "disconnected by an operator", 0)},
	}
	var out strings.Builder
	for _, f := range frames {
		if !json.Valid(f.frame) {
			t.Errorf("%s: not valid JSON: %s", f.name, f.frame)
		}
		out.WriteString(f.name + "\n  " + string(f.frame) + "\n")
	}
	golden(t, "encode.golden", out.String())
}

func TestMessageBodyLimits(t *testing.T) {
	longest := strings.Repeat("n", eureka.MaxNameLength)
	fill := func(n int) json.RawMessage { return json.RawMessage(`"` + strings.Repeat("x", n) + `"`) }
	// The largest data that passes must make a frame within the limit even under the longest name.
	low, high := 0, eureka.MaxFrameBytes
	for low < high {
		mid := (low + high + 1) / 2
		if _, err := protocol.MessageBody(eureka.Message{Action: "message", Data: fill(mid)}); err == nil {
			low = mid
		} else {
			high = mid - 1
		}
	}
	body, err := protocol.MessageBody(eureka.Message{Action: "message", Data: fill(low)})
	if err != nil {
		t.Fatal(err)
	}
	const cursor = "abcdefgh.9223372036854775807"
	if n := len(protocol.AppendMessage(nil, longest, protocol.AppendID(body, cursor))); n > eureka.MaxFrameBytes {
		t.Errorf("the largest frame under the longest name is %d bytes, the limit is %d", n, eureka.MaxFrameBytes)
	}
	// A history reply that brings it alone is larger, and the measure.
	entry := protocol.HistoryEntry(cursor, "", fill(low), 0)
	if len(entry)+1 > protocol.HistoryRoom {
		t.Errorf("the largest message is %d bytes in a history reply, which has room for %d", len(entry)+1, protocol.HistoryRoom)
	}
	reply := protocol.Reply{
		Action: protocol.ActionHistory, Channel: longest, Ref: json.RawMessage(`"` + strings.Repeat("r", protocol.MaxRefLength-2) + `"`),
		Data: protocol.HistoryData([][]byte{entry}, cursor, false),
	}
	if n := len(reply.Encode()); n != eureka.MaxFrameBytes-1 { // the comma that one entry has not
		t.Errorf("the largest history reply is %d bytes, want one less than %d", n, eureka.MaxFrameBytes)
	}
	if _, err := protocol.MessageBody(eureka.Message{Action: "message", Data: fill(low + 1)}); eureka.CodeOf(err) != eureka.CodeTooLarge {
		t.Errorf("one byte more: %v, want too_large", err)
	}
	if _, err := protocol.MessageBody(eureka.Message{Action: "message", Data: json.RawMessage(`{"a":`)}); eureka.CodeOf(err) != eureka.CodeInvalid {
		t.Errorf("broken data: %v, want invalid", err)
	}
}

func TestDepth(t *testing.T) {
	nested := func(n int) []byte {
		return []byte(`{"action":"ping","data":` + strings.Repeat("[", n) + strings.Repeat("]", n) + `}`)
	}
	if _, err := protocol.Parse(nested(protocol.MaxDepth - 1)); err != nil {
		t.Errorf("at the limit: %v", err)
	}
	for _, n := range []int{protocol.MaxDepth, 5000} {
		if _, err := protocol.Parse(nested(n)); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("%d levels: %v, want invalid", n, err)
		}
	}
	brackets := []byte(`{"action":"ping","data":"` + strings.Repeat(`[{\"`, 200) + `"}`)
	if _, err := protocol.Parse(brackets); err != nil {
		t.Errorf("brackets inside a string count as depth: %v", err)
	}
}

func FuzzParse(f *testing.F) {
	in, err := os.ReadFile(filepath.Join("testdata", "frames.in"))
	if err != nil {
		f.Fatal(err)
	}
	for line := range bytes.Lines(in) {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		frame, err := protocol.Parse(text)
		if err != nil {
			if code := eureka.CodeOf(err); code != eureka.CodeInvalid {
				t.Fatalf("code %s for %q", code, text)
			}
			if !json.Valid(protocol.EncodeError(frame.Ref, "", err)) {
				t.Fatalf("the error frame for %q is not JSON", text)
			}
			return
		}
		if frame.Action == "" {
			t.Fatalf("no action in %q", text)
		}
		reply := protocol.Reply{Action: frame.Action, Ref: frame.Ref, Channel: frame.Channel, Data: frame.Data}.Encode()
		if !utf8.Valid(text) {
			return // an edge refuses such text before it is parsed
		}
		again, err := protocol.Parse(reply)
		if err != nil {
			t.Fatalf("the reply %s to %q does not parse: %v", reply, text, err)
		}
		if again.Action != frame.Action || again.Channel != frame.Channel || !bytes.Equal(again.Data, frame.Data) || !bytes.Equal(again.Ref, frame.Ref) {
			t.Fatalf("%q came back as %s", text, reply)
		}
	})
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got); run with -update when the change is meant:\n%s", path, diff)
	}
}
