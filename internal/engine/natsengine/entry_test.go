package natsengine

import (
	"bytes"
	"strconv"
	"testing"

	"github.com/nats-io/nats.go"

	"eureka"
)

func FuzzParseEntry(f *testing.F) {
	payload, err := envelope{body: []byte(`"action":"message"`), except: []string{"socket"}}.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add("7", "2026-01-02T03:04:05.678Z", "3", "", "60000", "", "", payload)
	f.Add("7", "2026-01-02T03:04:05.678Z", "6", "3", "60000", "", "", payload)
	f.Add("8", "2026-01-02T03:04:05Z", "7", "9", "", "lasting", "6", []byte(nil))
	f.Add("", "", "", "", "", "", "", []byte(nil))
	f.Add("-1", "yesterday", "x", "-1", "forever", "", "-5", payload)
	f.Add("18446744073709551616", "2026-01-02T03:04:05Z", "18446744073709551616", "", "-1", "", "", payload[:3])
	f.Fuzz(func(t *testing.T, seq, at, expected, behind, ttl, anchor, forgot string, data []byte) {
		header := nats.Header{headerSequence: {seq}, headerTime: {at}, headerExpected: {expected}, headerTTL: {ttl}}
		if behind != "" {
			header[headerBehind] = []string{behind}
		}
		if anchor != "" {
			header[headerAnchor], header[headerForgot] = []string{anchor}, []string{forgot}
		}
		e, err := parseEntry(&nats.Msg{Header: header, Data: data})
		if err != nil {
			if eureka.CodeOf(err) != eureka.CodeInvalid {
				t.Errorf("refused with %v", err)
			}
			return
		}
		if e.seq == 0 || (e.isMessage() && (e.ttl <= 0 || len(e.body) == 0 || !bytes.HasSuffix(data, e.body))) {
			t.Errorf("read as %+v", e)
		}
		if before, err := strconv.ParseUint(expected, 10, 64); e.before != 0 && (err != nil || e.before > before) {
			t.Errorf("stored behind %q, read as %+v", expected, e)
		}
	})
}

func TestEntriesWithoutHeaders(t *testing.T) {
	for _, header := range []nats.Header{nil, {}, {headerSequence: {"1"}}, {headerTime: {"2026-01-02T03:04:05Z"}}} {
		if e, err := parseEntry(&nats.Msg{Header: header}); err == nil {
			t.Errorf("%v was read as %+v", header, e)
		}
	}
}
