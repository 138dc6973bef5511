package natsengine

import (
	"reflect"
	"strings"
	"testing"

	"eureka"
)

func TestEnvelope(t *testing.T) {
	long := eureka.Origin{Service: strings.Repeat("s", eureka.MaxServiceLength), ModelType: strings.Repeat("t", eureka.MaxModelTypeLength), ModelID: "é"}
	for _, except := range [][]string{nil, {"a"}, {"a", strings.Repeat("x", eureka.MaxSocketIDLength), "é"}} {
		for _, origin := range []eureka.Origin{{}, {Service: "orders", ModelType: "order"}, long} {
			want := envelope{body: []byte("body"), except: except, origin: origin}
			payload, err := want.encode()
			if err != nil {
				t.Fatal(err)
			}
			if got, err := decodeEnvelope(payload); err != nil || !reflect.DeepEqual(got, want) {
				t.Errorf("%+v came back as %+v, %v", want, got, err)
			}
			for cut := range payload[:len(payload)-len("body")+1] {
				if _, err := decodeEnvelope(payload[:cut]); err == nil {
					t.Errorf("%d of %d bytes were taken", cut, len(payload))
				}
			}
		}
	}
	for name, except := range map[string][]string{
		"too many": make([]string, eureka.MaxExcept+1), "empty": {""}, "too long": {strings.Repeat("x", eureka.MaxSocketIDLength+1)},
	} {
		if _, err := (envelope{body: []byte("body"), except: except}).encode(); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// What was stored by a node of before can be read.
func TestEnvelopeOfBefore(t *testing.T) {
	got, err := decodeEnvelope([]byte("\x01\x01\x01a\"action\":\"message\""))
	if want := (envelope{body: []byte(`"action":"message"`), except: []string{"a"}}); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %v", got, err)
	}
}

func FuzzEnvelope(f *testing.F) {
	for _, origin := range []eureka.Origin{{}, {Service: "orders", ModelType: "order", ModelID: "7"}} {
		good, err := envelope{body: []byte(`"action":"message"`), except: []string{"a", "b"}, origin: origin}.encode()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(good)
	}
	f.Add([]byte{envelopePlain, 0xff, 0xff, 0xff})
	f.Add([]byte{envelopeOrigin, 0, 0, 0, 0, 'x'})
	f.Add([]byte{3, 0, 'x'})
	f.Fuzz(func(t *testing.T, payload []byte) {
		first, err := decodeEnvelope(payload)
		if err != nil {
			return
		}
		again, err := first.encode()
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if second, err := decodeEnvelope(again); err != nil || !reflect.DeepEqual(first, second) {
			t.Errorf("%q came back as %q", payload, again)
		}
	})
}
