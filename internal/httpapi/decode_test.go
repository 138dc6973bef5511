package httpapi

import (
	"net/url"
	"strings"
	"testing"

	"eureka"
)

func TestTimestamps(t *testing.T) {
	for raw, want := range map[string]int64{
		``: 0, `null`: 0, `0`: 0, `1700000000000`: 1700000000000, `"2023-11-14 22:13:20"`: 1700000000000,
	} {
		if got, err := timestamp([]byte(raw)); err != nil || got != want {
			t.Errorf("%s: %d, %v", raw, got, err)
		}
	}
	for _, raw := range []string{`-1`, `1.5`, `"yesterday"`, `{}`, `"1900-01-01 00:00:00"`, `1e30`} {
		if _, err := timestamp([]byte(raw)); eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Errorf("%s: %v", raw, err)
		}
	}
}

func FuzzEvents(f *testing.F) {
	f.Add([]byte(`{"service":"s","modelType":"m","data":{},"ts":"2023-11-14 22:13:20"}`))
	f.Add([]byte(`[{"channelId":"c","data":1},{"channelId":"c","data":null,"id":null}]`))
	f.Add([]byte(`[1]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		events, err := decodeEvents(raw)
		if err != nil {
			if code := eureka.CodeOf(err); code != eureka.CodeInvalid && code != eureka.CodeTooLarge {
				t.Fatalf("%q: %v", raw, err)
			}
			return
		}
		for _, ev := range events {
			if err := ev.Validate(); err != nil || len(ev.Data) == 0 || ev.TS < 0 {
				t.Fatalf("%q made %+v, %v", raw, ev, err)
			}
		}
	})
}

func FuzzListQuery(f *testing.F) {
	f.Add("service=a&service=b&name=!&desc=&sort=id:desc")
	f.Add("sort=:&presence=true")
	f.Fuzz(func(t *testing.T, raw string) {
		values, err := url.ParseQuery(raw)
		if err != nil {
			return
		}
		sort, err := sorting(values.Get("sort"))
		if err != nil && !strings.Contains(err.Error(), "direction") {
			t.Fatal(err)
		}
		q := eureka.ChannelQuery{Where: conditions(values, eureka.ChannelFilterFields), Sort: sort}
		if err := q.Validate(); err != nil && eureka.CodeOf(err) != eureka.CodeInvalid {
			t.Fatal(err)
		}
	})
}
