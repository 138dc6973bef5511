package natsengine_test

import (
	"fmt"
	"testing"
	"time"

	"eureka"
)

// TestKeyOfWhomNobodyKnows: a caller that claimed a key and ended without a word may have stored its message. Another one that takes over stores it
// once, and not at all when it cannot be told whether it was stored, since the channel has gone on.
func TestKeyOfWhomNobodyKnows(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	e, err := open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = e.Close(t.Context()) }()
	small := &eureka.Retention{Size: 10, TTL: eureka.Duration(time.Hour)}
	retain(t, "pushed", small, e)
	retain(t, "calm", small, e)
	publish := func(channel, key string) (eureka.Cursor, error) {
		answer, err := e.Requests().Begin(t.Context(), key)
		if err != nil || answer != nil {
			t.Fatalf("begun with %q, %v", answer, err)
		}
		d, err := e.Fanout().Deliver(t.Context(), eureka.Message{
			ChannelID: channel, Action: eureka.ActionMessage, Event: key, Retention: small, Key: key,
		})
		return d.Cursor, err
	}
	stored := map[string]eureka.Cursor{}
	for _, channel := range []string{"pushed", "calm"} {
		mustStore(t, e, channel, "before", small)
		if stored[channel], err = publish(channel, channel+"-stored"); err != nil {
			t.Fatal(err)
		}
		for _, key := range []string{"-claimed", "-given-up", "-doubted"} {
			if _, err := e.Requests().Begin(t.Context(), channel+key); err != nil {
				t.Fatal(err)
			}
		}
		e.Doubt(channel + "-doubted")
		if _, err := publish(channel, channel+"-half"); err != nil { // as an event that another channel refused
			t.Fatal(err)
		}
		for _, key := range []string{"-given-up", "-doubted", "-half"} {
			if err := e.Requests().Abandon(t.Context(), channel+key); err != nil {
				t.Fatal(err)
			}
		}
	}
	for i := range 300 {
		mustStore(t, e, "pushed", fmt.Sprint(i), small)
	}
	eventually(t, "what is over the size is removed", func() bool {
		n, err := e.Entries(t.Context(), "pushed")
		return err == nil && len(n) < 150
	})
	if err := e.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if e, err = open(dir); err != nil {
		t.Fatal(err)
	}
	e.LeaseOver()
	for range 2 { // what is given up once more is no more known than before
		for _, key := range []string{"pushed-stored", "pushed-claimed", "pushed-doubted", "pushed-half"} {
			if at, err := publish("pushed", key); eureka.CodeOf(err) != eureka.CodeConflict {
				t.Errorf("%q is stored at %v, %v", key, at, err)
			}
			if err := e.Requests().Abandon(t.Context(), key); err != nil {
				t.Fatal(err)
			}
		}
	}
	if at, err := publish("calm", "calm-stored"); err != nil || at != stored["calm"] {
		t.Errorf("stored at %v, now at %v, %v", stored["calm"], at, err)
	}
	for _, key := range []string{"calm-claimed", "calm-given-up", "calm-doubted", "new"} {
		if at, err := publish("calm", key); err != nil || at.Offset <= stored["calm"].Offset {
			t.Errorf("%q is stored at %v, %v", key, at, err)
		}
	}
	for _, key := range []string{"pushed-given-up", "newer"} {
		if _, err := publish("pushed", key); err != nil {
			t.Errorf("%q: %v", key, err)
		}
	}
}
