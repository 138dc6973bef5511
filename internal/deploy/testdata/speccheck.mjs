// Checks each resource of a CloudFormation template (standard input) against the resource specification: known types and properties, required
// properties, the kind of each value. Prints one fault a line. Argument: the folder of @aws-cdk/aws-service-spec.
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { readFileSync } from 'node:fs';

const require = createRequire(join(process.argv[2], 'package.json'));
const { loadAwsServiceSpecSync } = require(process.argv[2]);
const db = loadAwsServiceSpecSync();
const template = JSON.parse(readFileSync(0, 'utf8'));
const faults = [];

const isObject = (v) => v !== null && typeof v === 'object' && !Array.isArray(v);
const intrinsic = (v) => {
  const keys = isObject(v) ? Object.keys(v) : [];
  return keys.length === 1 && (keys[0] === 'Ref' || keys[0].startsWith('Fn::')) ? keys[0] : '';
};
const removed = (v) => isObject(v) && v.Ref === 'AWS::NoValue';

function value(at, v, type) {
  const f = intrinsic(v);
  if (f === 'Fn::If') {
    for (const branch of v['Fn::If'].slice(1)) if (!removed(branch)) value(at, branch, type);
    return;
  }
  if (f) {
    if (['Fn::Sub', 'Fn::Join'].includes(f) && !accepts(type, 'string')) faults.push(`${at}: a text where ${type.type} is wanted`);
    return;
  }
  switch (type.type) {
    case 'string':
    case 'date-time':
      if (typeof v !== 'string') faults.push(`${at}: is no text`);
      break;
    case 'integer':
    case 'number':
      if (typeof v !== 'number') faults.push(`${at}: is no number`);
      break;
    case 'boolean':
      if (typeof v !== 'boolean') faults.push(`${at}: is no boolean`);
      break;
    case 'array':
      if (!Array.isArray(v)) faults.push(`${at}: is no list`);
      else v.forEach((item, i) => value(`${at}[${i}]`, item, type.element));
      break;
    case 'map':
      if (!isObject(v)) faults.push(`${at}: is no map`);
      else for (const [k, item] of Object.entries(v)) value(`${at}.${k}`, item, type.element);
      break;
    case 'ref':
      if (!isObject(v)) faults.push(`${at}: is no object`);
      else properties(at, v, db.get('typeDefinition', type.reference.$ref).properties);
      break;
    case 'union': {
      const before = faults.length;
      let least = null;
      for (const one of type.types) {
        value(at, v, one);
        const found = faults.splice(before);
        if (least === null || found.length < least.length) least = found;
      }
      faults.push(...least);
      break;
    }
    case 'json':
      if (!isObject(v) && typeof v !== 'string') faults.push(`${at}: is no JSON`);
      break;
    case 'tag':
      if (!isObject(v) || !('Key' in v) || !('Value' in v)) faults.push(`${at}: is no tag`);
      break;
    case 'null':
      faults.push(`${at}: has a value`);
      break;
    default:
      faults.push(`${at}: the specification says ${type.type}, which this check does not know`);
  }
}

function accepts(type, kind) {
  return type.type === kind || type.type === 'json' || (type.type === 'union' && type.types.some((t) => accepts(t, kind)));
}

function properties(at, given, specified) {
  for (const [name, v] of Object.entries(given)) {
    if (!specified[name]) faults.push(`${at}.${name}: there is no such property`);
    else if (!removed(v)) value(`${at}.${name}`, v, specified[name].type);
  }
  for (const [name, p] of Object.entries(specified)) {
    if (p.required && !(name in given)) faults.push(`${at}.${name}: is required`);
  }
}

for (const [name, resource] of Object.entries(template.Resources)) {
  const [spec] = db.lookup('resource', 'cloudFormationType', 'equals', resource.Type);
  if (!spec) faults.push(`${name}: there is no type ${resource.Type}`);
  else properties(name, resource.Properties ?? {}, spec.properties);
  for (const key of Object.keys(resource)) {
    if (!['Type', 'Properties', 'DependsOn', 'Condition', 'DeletionPolicy', 'UpdateReplacePolicy', 'Metadata'].includes(key)) faults.push(`${name}: ${key} is no attribute of a resource`);
  }
  // What GetAtt may ask for.
  JSON.stringify(resource, (key, v) => {
    if (key === 'Fn::GetAtt') attribute(name, v);
    return v;
  });
}

function attribute(at, [name, attribute]) {
  const target = template.Resources[name];
  const [spec] = target ? db.lookup('resource', 'cloudFormationType', 'equals', target.Type) : [];
  if (spec && !spec.attributes[attribute]) faults.push(`${at}: ${target.Type} has no attribute ${attribute}`);
}

console.log(faults.join('\n'));
