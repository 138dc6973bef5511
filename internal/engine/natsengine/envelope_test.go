package natsengine

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"eureka"
)

func TestEnvelope(t *testing.T) {
	for _, except := range [][]string{nil, {"a"}, {"a", strings.Repeat("x", eureka.MaxSocketIDLength), "é"}} {
		payload, err := encodeEnvelope([]byte("body"), except)
		if err != nil {
			t.Fatal(err)
		}
		body, got, err := decodeEnvelope(payload)
		if err != nil || string(body) != "body" || !slices.Equal(got, except) {
			t.Errorf("%q came back as %q %q, %v", except, body, got, err)
		}
		for cut := range payload[:len(payload)-len("body")+1] {
			if _, _, err := decodeEnvelope(payload[:cut]); err == nil {
				t.Errorf("%d of %d bytes were taken", cut, len(payload))
			}
		}
	}
	for name, except := range map[string][]string{
		"too many": make([]string, eureka.MaxExcept+1), "empty": {""}, "too long": {strings.Repeat("x", eureka.MaxSocketIDLength+1)},
	} {
		if _, err := encodeEnvelope([]byte("body"), except); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzEnvelope(f *testing.F) {
	good, err := encodeEnvelope([]byte(`"action":"message"`), []string{"a", "b"})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{envelopeVersion, 0xff, 0xff, 0xff})
	f.Add([]byte{2, 0, 'x'})
	f.Fuzz(func(t *testing.T, payload []byte) {
		body, except, err := decodeEnvelope(payload)
		if err != nil {
			return
		}
		again, err := encodeEnvelope(body, except)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if body2, except2, err := decodeEnvelope(again); err != nil || !bytes.Equal(body, body2) || !slices.Equal(except, except2) {
			t.Errorf("%q came back as %q", payload, again)
		}
	})
}
