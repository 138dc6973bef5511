package httpapi

import "strings"

func socketSteps() []step {
	return []step{
		{name: "list", method: "GET", path: "/sockets", status: 200},
		{name: "of a user", method: "GET", path: "/sockets?user=ada", status: 200},
		{name: "of nobody", method: "GET", path: "/sockets?user=bob", status: 200},
		{name: "of a channel", method: "GET", path: "/sockets?channel=room&sort=connectedAt:asc", status: 200},
		{name: "subscribers", method: "GET", path: "/channels/room/sockets", status: 200},
		{name: "subscribers of another", method: "GET", path: "/channels/other/sockets?sort=connectedAt", status: 200},
		{name: "show", method: "GET", path: "/sockets/" + socketID(1), status: 200},
		{name: "send", method: "POST", path: "/sockets/" + socketID(1) + "/send", body: `{"data":{"a":1},"event":"greet"}`, status: 200},
		{name: "send to a user", method: "POST", path: "/users/ada/send", body: `{"data":null}`, status: 200},
		{name: "send to a user without sockets", method: "POST", path: "/users/bob/send", body: `{"data":1}`, status: 200},
		{name: "the node counts it", method: "GET", path: "/hello", status: 200},
		{name: "disconnect", method: "DELETE", path: "/sockets/" + socketID(1), status: 200},
	}
}

func socketFaults() []step {
	gone := "/sockets/" + socketID(9)
	return []step{
		{name: "unknown", method: "GET", path: gone, status: 404},
		{name: "malformed", method: "GET", path: "/sockets/a%20b", status: 404},
		{name: "disconnect an unknown one", method: "DELETE", path: gone, status: 404},
		{name: "send to an ended one", method: "POST", path: gone + "/send", body: `{"data":1}`, status: 410},
		{name: "send nothing", method: "POST", path: gone + "/send", body: `{}`, status: 400},
		{name: "send without a body", method: "POST", path: gone + "/send", status: 400},
		{name: "send an array", method: "POST", path: gone + "/send", body: `[1]`, status: 400},
		{name: "unknown field", method: "POST", path: gone + "/send", body: `{"data":1,"colour":1}`, status: 400},
		{name: "wrong event", method: "POST", path: gone + "/send", body: `{"data":1,"event":7}`, status: 400},
		{name: "too large for a frame", method: "POST", path: gone + "/send", body: `{"data":"` + strings.Repeat("x", 200_000) + `"}`, status: 413},
		{name: "user without data", method: "POST", path: "/users/ada/send", body: `{"event":"x"}`, status: 400},
		{name: "malformed user", method: "POST", path: "/users/%00/send", body: `{"data":1}`, status: 400},
		{name: "sort by another field", method: "GET", path: "/sockets?sort=user", status: 400},
		{name: "sort in an unknown direction", method: "GET", path: "/channels/room/sockets?sort=connectedAt:up", status: 400},
		{name: "unknown parameter", method: "GET", path: "/sockets?colour=red", status: 400},
		{name: "malformed channel", method: "GET", path: "/sockets?channel=a+b", status: 400},
		{name: "subscribers of a malformed channel", method: "GET", path: "/channels/a%20b/sockets", status: 400},
		{name: "limit too high", method: "GET", path: "/sockets?limit=1001", status: 400},
	}
}

func eventSteps() []step {
	return []step{
		{name: "declare", method: "POST", path: "/channels/orders", body: `{"service":"shop","modelType":"order"}`, status: 200},
		{name: "declare for one model", method: "POST", path: "/channels/seven", body: `{"service":"shop","modelType":"order","modelId":"7"}`, status: 200},
		{name: "broadcast", method: "POST", path: "/channels/room/broadcast", body: `{"data":{"message":"hello"}}`, status: 200},
		{name: "the original's path", method: "POST", path: "/sockets/1000001/broadcast", body: `{"data":1,"event":"tick"}`, status: 200},
		{name: "all values", method: "POST", path: "/channels/room/broadcast", body: `{"data":null}`, status: 200},
		{name: "except", method: "POST", path: "/channels/room/broadcast", body: `{"data":1,"except":["` + socketID(1) + `"]}`, status: 200},
		{name: "nobody listens", method: "POST", path: "/channels/other/broadcast", body: `{"data":1}`, status: 200},
		{name: "channel 0 routes", method: "POST", path: "/channels/0/broadcast", body: `{"service":"shop","modelType":"order","modelId":"7","data":1}`, status: 200},
		{name: "an event", method: "POST", path: "/events", status: 200,
			body: `{"id":"e1","service":"shop","modelType":"order","event":"create","data":{},"ts":1700000000000}`},
		{name: "an event of one model", method: "POST", path: "/events", status: 200,
			body: `{"service":"shop","modelType":"order","modelId":"7","data":{},"ts":"2023-11-14 22:13:20"}`},
		{name: "an event for a channel", method: "POST", path: "/events", body: `{"channelId":"room","data":[1]}`, status: 200},
		{name: "nulls are absent", method: "POST", path: "/events", status: 200,
			body: `{"id":null,"channelId":"room","service":null,"event":null,"ts":null,"data":null}`},
		{name: "several", method: "POST", path: "/events", status: 200,
			body: `[{"channelId":"room","data":1},{"service":"shop","modelType":"order","data":2},{"channelId":"room","data":3}]`},
		{name: "a CloudEvent in binary mode", method: "POST", path: "/events", status: 200, body: `{"a":1}`,
			header: "Content-Type: application/json\nCe-Specversion: 1.0\nCe-Id: 1\nCe-Source: /shop\nCe-Type: shop.order.paid\nCe-Subject: 7"},
		{name: "the same in structured mode is the same event", method: "POST", path: "/events", status: 200, header: "Content-Type: application/cloudevents+json",
			body: `{"specversion":"1.0","id":"1","source":"/shop","type":"shop.order.paid","subject":"7","data":{"a":1}}`},
		{name: "and with other data a conflict", method: "POST", path: "/events", status: 409, header: "Content-Type: application/cloudevents-batch+json",
			body: `[{"specversion":"1.0","id":"1","source":"/shop","type":"shop.order.paid","subject":"7","data":{"a":2}}]`},
		{name: "in binary mode text and no data", method: "POST", path: "/events", status: 200,
			header: "Content-Type: text/plain\nCe-Specversion: 1.0\nCe-Id: 2\nCe-Source: /shop\nCe-Type: x\nCe-Channelid: room"},
		{name: "a batch of none", method: "POST", path: "/events", status: 200, header: "Content-Type: application/cloudevents-batch+json", body: `[]`},
		{name: "the shape of EventBridge", method: "POST", path: "/events", status: 200,
			body: `{"version":"0","id":"b1","detail-type":"order.paid","source":"shop","time":"2023-11-14T22:13:20Z","detail":{"a":1}}`},
		{name: "unicode", method: "POST", path: "/events", body: ` {"channelId":"room","event":"grüße","data":"日本 🎉"} `, status: 200},
		{name: "delete a channel", method: "DELETE", path: "/channels/seven", status: 200},
		{name: "its name is an undeclared channel then", method: "POST", path: "/channels/seven/broadcast", body: `{"data":1}`, status: 200},
		{name: "it gets no more events", method: "POST", path: "/events", status: 200,
			body: `{"service":"shop","modelType":"order","modelId":"7","data":1}`},
	}
}

func deniedSteps() []step {
	return []step{
		{name: "broadcast to an undeclared channel", method: "POST", path: "/channels/room/broadcast", body: `{"data":1}`, status: 404},
		{name: "event for an undeclared channel", method: "POST", path: "/events", body: `{"channelId":"room","data":1}`, status: 404},
		{name: "event that nobody wants", method: "POST", path: "/events", body: `{"service":"a","modelType":"b","data":1}`, status: 200},
		{name: "declare", method: "POST", path: "/channels/hall", status: 200},
		{name: "broadcast", method: "POST", path: "/channels/hall/broadcast", body: `{"data":1}`, status: 200},
		{name: "in a list the others are taken", method: "POST", path: "/events", status: 404,
			body: `[{"channelId":"hall","data":1},{"channelId":"room","data":2}]`},
		{name: "delete", method: "DELETE", path: "/channels/hall", status: 200},
		{name: "broadcast to a deleted one", method: "POST", path: "/channels/hall/broadcast", body: `{"data":1}`, status: 404},
		{name: "its subscribers", method: "GET", path: "/channels/hall/sockets", status: 404},
	}
}

func eventFaults() []step {
	one := func(name, body string) step {
		return step{name: name, method: "POST", path: "/events", body: body, status: 400}
	}
	cast := func(name, body string) step {
		return step{name: "broadcast " + name, method: "POST", path: "/channels/room/broadcast", body: body, status: 400}
	}
	many := step{name: "too many", method: "POST", path: "/events", body: "[" + strings.Repeat(`{"channelId":"a","data":1},`, 1000) + "{}]", status: 413}
	return []step{
		one("no body", ""), one("null", "null"), one("a number", "7"), one("a text", `"x"`), one("broken", `{"data":`),
		one("trailing text", `{"channelId":"a","data":1} x`), one("empty list", "[]"), one("broken list", `[{"data":1}`),
		one("no data", `{"channelId":"a"}`), one("no address", `{"data":1}`), one("half an address", `{"service":"shop","data":1}`),
		one("wrong type", `{"channelId":7,"data":1}`), one("wrong event", `{"channelId":"a","event":[],"data":1}`),
		one("wrong ts", `{"channelId":"a","ts":"yesterday","data":1}`), one("negative ts", `{"channelId":"a","ts":-1,"data":1}`),
		one("broken ts", `{"channelId":"a","ts":1.5,"data":1}`), one("unknown field", `{"channelId":"a","data":1,"colour":1}`),
		one("malformed channel", `{"channelId":"a b","data":1}`), one("null in a list", `[{"channelId":"a","data":1},null]`),
		{name: "an image", method: "POST", path: "/events", header: "Content-Type: image/png", body: "x", status: 400},
		{name: "an old CloudEvent", method: "POST", path: "/events", header: "Ce-Specversion: 0.3", body: "{}", status: 400},
		{name: "a notification where no topic is allowed", method: "POST", path: "/events/sns", body: "{}", status: 404},
		one("the index in a list", `[{"channelId":"a","data":1},{"channelId":"a"}]`), many,
		cast("no body", ""), cast("no data", `{}`), cast("broken", `{"data":}`), cast("a list", `[{"data":1}]`), cast("a number", `1`),
		cast("wrong event", `{"data":1,"event":1}`), cast("wrong except", `{"data":1,"except":"a"}`), cast("null except", `{"data":1,"except":[null]}`),
		cast("unknown field", `{"data":1,"colour":1}`), cast("later field", `{"data":1,"history":1}`), cast("address beside a channel", `{"data":1,"service":"shop"}`),
		{name: "broadcast to a malformed channel", method: "POST", path: "/channels/a%20b/broadcast", body: `{"data":1}`, status: 400},
		{name: "channel 0 without an address", method: "POST", path: "/channels/0/broadcast", body: `{"data":1}`, status: 400},
		{name: "channel 0 with except", method: "POST", path: "/channels/0/broadcast", body: `{"data":1,"service":"s","modelType":"m","except":["x"]}`, status: 400},
		{name: "too large for a frame", method: "POST", path: "/channels/room/broadcast", body: `{"data":"` + strings.Repeat("x", 200_000) + `"}`, status: 413},
		{name: "except too many", method: "POST", path: "/channels/room/broadcast", body: `{"data":1,"except":["a"` + strings.Repeat(`,"a"`, 1000) + `]}`, status: 400},
	}
}

func bodySteps() []step {
	deep := strings.Repeat("[", 5000) + strings.Repeat("]", 5000)
	big := `{"data":"` + strings.Repeat("x", 3<<20) + `"}`
	cast := func(name, header, body string, status int) step {
		return step{name: name, method: "POST", path: "/channels/room/broadcast", header: header, body: body, status: status}
	}
	chunked := cast("3 MB in chunks", "", big, 413)
	chunked.chunked = true
	return []step{
		cast("JSON", "Content-Type: application/json; charset=utf-8", `{"data":1}`, 200),
		cast("a kind of JSON", "Content-Type: application/merge-patch+json", `{"data":1}`, 200),
		cast("a beacon's", "Content-Type: text/plain;charset=UTF-8", `{"data":1}`, 200),
		cast("not JSON", "", `hello`, 400),
		cast("half of JSON", "", `{"data":`, 400),
		cast("two values", "", `{"data":1}{"data":2}`, 400),
		cast("a byte order mark", "", "\ufeff{\"data\":1}", 400),
		cast("deep nesting", "", `{"data":`+deep+`}`, 400),
		{name: "deep events", method: "POST", path: "/events", body: deep, status: 400},
		cast("3 MB", "", big, 413), chunked,
		{name: "3 MB of events", method: "POST", path: "/events", body: big, status: 413},
		{name: "3 MB for a channel", method: "PUT", path: "/channels/room", body: big, status: 413},
		{name: "3 MB where no body belongs", method: "DELETE", path: "/channels/room", body: big, status: 413},
	}
}

func connectionSteps() []step {
	live, gone := "/@connections/"+socketID(1), "/@connections/"+socketID(9)
	return []step{
		{name: "get", method: "GET", path: live, status: 200},
		{name: "post", method: "POST", path: live, header: "Content-Type: application/octet-stream", body: `anything`, status: 200},
		{name: "with a stage", method: "POST", path: "/dev" + live, body: `{"a":1}`, status: 200},
		{name: "escaped", method: "GET", path: "/dev/%40connections/" + socketID(1), status: 200},
		{name: "two stages", method: "GET", path: "/a/b" + live, status: 404},
		{name: "gone", method: "GET", path: gone, status: 410},
		{name: "post to one gone", method: "POST", path: gone, body: `x`, status: 410},
		{name: "delete one gone", method: "DELETE", path: gone, status: 410},
		{name: "not UTF-8", method: "POST", path: live, body: "\xff", status: 400},
		{name: "too large", method: "POST", path: live, body: strings.Repeat("x", 140_000), status: 413},
		{name: "wrong method", method: "PUT", path: live, body: "x", status: 405},
		{name: "delete", method: "DELETE", path: "/dev" + live, status: 204},
	}
}
