package httpapi

import (
	"net/url"
	"strings"
	"testing"

	"eureka"
)

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
