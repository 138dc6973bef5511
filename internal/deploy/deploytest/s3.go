package deploytest

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"strings"
)

type bucket struct {
	objects                     map[string][]byte
	private, encrypted, tlsOnly bool
}

func (c *Cloud) serveS3(w http.ResponseWriter, r *http.Request) {
	name, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	b := c.buckets[name]
	action := s3Action(r, key)
	if !c.note(action) {
		c.refuse(w, r, http.StatusForbidden, "AccessDenied", "not authorized to do s3:"+action)
		return
	}
	if b == nil && action != "CreateBucket" {
		c.refuse(w, r, http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist")
		return
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		c.t.Error(err)
	}
	do := map[string]func(){
		"HeadBucket": func() {}, "PutBucketTagging": func() {},
		"CreateBucket":         func() { c.createBucket(w, r, name, string(body)) },
		"PutPublicAccessBlock": func() { b.private = strings.Count(string(body), ">true<") == 4 },
		"PutBucketEncryption":  func() { b.encrypted = strings.Contains(string(body), "AES256") },
		"PutBucketPolicy": func() {
			b.tlsOnly = strings.Contains(string(body), `"aws:SecureTransport":"false"`) && strings.Contains(string(body), `"arn:aws:s3:::`+name+`/*"`)
		},
		"HeadObject": func() {
			if _, there := b.objects[key]; !there {
				c.refuse(w, r, http.StatusNotFound, "NotFound", "")
			}
		},
		"PutObject":          func() { b.objects[key] = body },
		"ListObjectVersions": func() { b.list(w) },
		"DeleteObjects":      func() { c.deleteObjects(w, b, body) },
		"DeleteBucket":       func() { c.deleteBucket(w, r, name) },
	}[action]
	if do == nil {
		c.t.Errorf("S3 is asked for %s %s", r.Method, r.URL)
		return
	}
	do()
}

func (c *Cloud) createBucket(w http.ResponseWriter, r *http.Request, name, body string) {
	if !strings.Contains(body, "<LocationConstraint>"+Region+"</LocationConstraint>") {
		c.refuse(w, r, http.StatusBadRequest, "IllegalLocationConstraintException", "the location constraint is wrong")
		return
	}
	c.buckets[name] = &bucket{objects: map[string][]byte{}}
}

func (c *Cloud) deleteBucket(w http.ResponseWriter, r *http.Request, name string) {
	if len(c.buckets[name].objects) > 0 {
		c.refuse(w, r, http.StatusConflict, "BucketNotEmpty", "The bucket you tried to delete is not empty")
		return
	}
	delete(c.buckets, name)
	w.WriteHeader(http.StatusNoContent)
}

// s3Action tells a request's action by its method, whether it names an object, and the word in its query.
func s3Action(r *http.Request, key string) string {
	word := ""
	for _, w := range []string{"publicAccessBlock", "encryption", "policy", "tagging", "versions", "delete"} {
		if r.URL.Query().Has(w) {
			word = w
		}
	}
	type form struct {
		method string
		object bool
		word   string
	}
	return map[form]string{
		{http.MethodHead, false, ""}:                 "HeadBucket",
		{http.MethodHead, true, ""}:                  "HeadObject",
		{http.MethodPut, true, ""}:                   "PutObject",
		{http.MethodPut, false, "publicAccessBlock"}: "PutPublicAccessBlock",
		{http.MethodPut, false, "encryption"}:        "PutBucketEncryption",
		{http.MethodPut, false, "policy"}:            "PutBucketPolicy",
		{http.MethodPut, false, "tagging"}:           "PutBucketTagging",
		{http.MethodPut, false, ""}:                  "CreateBucket",
		{http.MethodGet, false, "versions"}:          "ListObjectVersions",
		{http.MethodPost, false, "delete"}:           "DeleteObjects",
		{http.MethodDelete, false, ""}:               "DeleteBucket",
	}[form{r.Method, key != "", word}]
}

// listed is how many objects one page of a list has: few, so that pages are used.
const listed = 2

func (b *bucket) list(w io.Writer) {
	var page strings.Builder
	n := 0
	for key := range b.objects {
		if n == listed {
			break
		}
		n++
		fmt.Fprintf(&page, "<Version><Key>%s</Key><VersionId>null</VersionId><IsLatest>true</IsLatest></Version>", key)
	}
	_, _ = fmt.Fprintf(w, "<ListVersionsResult><IsTruncated>%v</IsTruncated>%s</ListVersionsResult>", len(b.objects) > listed, page.String()) // the client may be gone
}

func (c *Cloud) deleteObjects(w io.Writer, b *bucket, body []byte) {
	var asked struct {
		Object []struct{ Key string }
	}
	if err := xml.Unmarshal(body, &asked); err != nil {
		c.t.Error(err)
	}
	for _, o := range asked.Object {
		delete(b.objects, o.Key)
	}
	_, _ = io.WriteString(w, "<DeleteResult></DeleteResult>") // likewise
}
