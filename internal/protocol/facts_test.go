package protocol

import (
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"

	"eureka"
)

// TestFactsAreWhatTheBodySays: however odd its parts, of a body come the same facts as by reading all of its JSON. Most are found without.
func TestFactsAreWhatTheBodySays(t *testing.T) {
	cut := 0
	datas := []string{
		`1`, `null`, `"x"`, `""`, `{}`, `[]`, `{"n":1}`, `{"ts":5}`, `{"id":"a"}`, `{"a":1,"ts":5}`, `[1,"ts",5]`, `{"data":{"ts":7},"id":"b","ts":3}`, `"\",\"ts\":5"`, `",\"id\":\"x\""`,
		`"a,\\\"ts\\\":5"`, `{"a":"\",\"data\":1,\"ts\":9"}`, `"\u0022,\u0022ts\u0022:5"`, `-1.5e3`, `[{"a":1,"id":"z"}]`, `"ü\n"`, ``,
	}
	for _, event := range []string{"message", "created", "", `a"b`, `a\b`, `","data":1`, "grün", "a\nb", ",\"ts\":5"} {
		for _, data := range datas {
			for _, ts := range []int64{0, 1, 1795642174609, -5} {
				for _, id := range []string{"", "abcdefgh.12", `o"dd`} {
					body, err := MessageBody(eureka.Message{Action: eureka.ActionMessage, Event: event, Data: json.RawMessage(data), TS: ts})
					if err != nil {
						t.Fatal(err)
					}
					if id != "" {
						body = AppendID(body, id)
					}
					want, err := ParseBody(body)
					if err != nil {
						t.Fatal(err)
					}
					origin := eureka.Origin{Service: "shop"}
					want.Origin = origin
					if diff := cmp.Diff(want.Facts(), FactsOf(body, origin)()); diff != "" {
						t.Errorf("%s (-want +got):\n%s", body, diff)
					}
					if _, ok := cutFacts(body); ok {
						cut++
					}
				}
			}
		}
	}
	if cut < 200 {
		t.Errorf("only %d were found without reading all", cut)
	}
}
