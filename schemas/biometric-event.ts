// Generated from the .avsc next to it by `npm run generate`: change the schema, not this file.

/** One normalized measurement, or retraction of one, of one user's device. */
export interface BiometricEvent {
  /** Deterministic UUID over device, user, resource_id, revision and content. */
  readonly event_id: string;
  /** The route it came by. */
  readonly device_type: DeviceType;
  /** Provider behind the route: oura, terra:GARMIN, healthkit:Apple Watch. */
  readonly source: string;
  /** Unique only together with device_type. */
  readonly user_id: string;
  readonly kind: RecordKind;
  /** When it was measured. Epoch ms. */
  readonly timestamp: number;
  /** The vendor's calendar day, YYYY-MM-DD. */
  readonly local_date: string | null;
  /** RMSSD in ms, never SDNN. */
  readonly hrv: number | null;
  /** SDNN in ms. */
  readonly hrv_sdnn: number | null;
  /** 0 to 100. */
  readonly sleep_score: number | null;
  /** 0 to 100. */
  readonly recovery_score: number | null;
  /** 0 to 100. */
  readonly stress_level: number | null;
  /** Beats per minute. */
  readonly resting_heart_rate: number | null;
  /** steps, distance_m, active_energy_kcal, total_energy_kcal, active_seconds, strain. */
  readonly activity_data: Readonly<Record<string, number>>;
  /** What a reader should know of its quality. */
  readonly flags: readonly string[];
  readonly baseline: Baseline | null;
  readonly triggers: readonly Trigger[];
  readonly priority: Priority;
  /** Which object of the vendor. */
  readonly resource_id: string;
  /** Which version of it, epoch ms. */
  readonly revision: number;
  /** The vendor retracted the resource. */
  readonly deleted: boolean;
  readonly supersedes: Superseded | null;
  /** Which recomputation of history made it; versions are ordered by generation, revision, raw.offset. */
  readonly generation: number;
  /** When the ingress took it. Epoch ms. */
  readonly received_at: number;
  readonly raw: RawRef;
}

/** The raw record it was made from. */
export interface RawRef {
  readonly topic: string;
  readonly partition: number;
  readonly offset: number;
}

/** The version of this resource that came before. */
export interface Superseded {
  readonly event_id: string;
  readonly priority: Priority;
  /** The alerts that it raised: those that no newer version raises can be withdrawn. */
  readonly alert_ids: readonly string[];
}

export type Priority = 'HIGH' | 'MEDIUM' | 'NORMAL';

/** Every Priority, in the order of the schema. */
export const priorities = ['HIGH', 'MEDIUM', 'NORMAL'] as const satisfies readonly Priority[];

export interface Trigger {
  readonly type: string;
  readonly severity: string;
  readonly metric: string;
  readonly value: number;
  readonly threshold: number;
  readonly recommendation: string;
  /** Deterministic UUID over device, user, type and the night. */
  readonly alert_id: string;
  /** Not raised for this alert_id before. */
  readonly first: boolean;
}

/** The HRV of this user and device over the 30 days before this event. */
export interface Baseline {
  /** RMSSD in ms. */
  readonly hrv_mean: number;
  /** Sample standard deviation in ms; 0 of a single night. */
  readonly hrv_sd: number;
  readonly nights: number;
}

export type RecordKind = 'reading' | 'sleep' | 'recovery' | 'daily' | 'activity' | 'unknown';

/** Every RecordKind, in the order of the schema. */
export const recordKinds = [
  'reading',
  'sleep',
  'recovery',
  'daily',
  'activity',
  'unknown',
] as const satisfies readonly RecordKind[];

export type DeviceType = 'oura' | 'whoop' | 'terra' | 'healthkit' | 'unknown';

/** Every DeviceType, in the order of the schema. */
export const deviceTypes = [
  'oura',
  'whoop',
  'terra',
  'healthkit',
  'unknown',
] as const satisfies readonly DeviceType[];

/** The schema as registered: the registry finds a schema by its text. */
export const biometricEventAvsc =
  '{"type":"record","name":"BiometricEvent","namespace":"com.auren.biometrics","doc":"One normalized measurement, or retraction of one, of one user\'s device.","fields":[{"name":"event_id","type":"string","doc":"Deterministic UUID over device, user, resource_id, revision and content."},{"name":"device_type","type":{"type":"enum","name":"DeviceType","symbols":["oura","whoop","terra","healthkit","unknown"],"default":"unknown"},"doc":"The route it came by."},{"name":"source","type":"string","doc":"Provider behind the route: oura, terra:GARMIN, healthkit:Apple Watch."},{"name":"user_id","type":"string","doc":"Unique only together with device_type."},{"name":"kind","type":{"type":"enum","name":"RecordKind","symbols":["reading","sleep","recovery","daily","activity","unknown"],"default":"unknown"}},{"name":"timestamp","type":{"type":"long","logicalType":"timestamp-millis"},"doc":"When it was measured."},{"name":"local_date","type":["null","string"],"default":null,"doc":"The vendor\'s calendar day, YYYY-MM-DD."},{"name":"hrv","type":["null","double"],"default":null,"doc":"RMSSD in ms, never SDNN."},{"name":"hrv_sdnn","type":["null","double"],"default":null,"doc":"SDNN in ms."},{"name":"sleep_score","type":["null","double"],"default":null,"doc":"0 to 100."},{"name":"recovery_score","type":["null","double"],"default":null,"doc":"0 to 100."},{"name":"stress_level","type":["null","double"],"default":null,"doc":"0 to 100."},{"name":"resting_heart_rate","type":["null","double"],"default":null,"doc":"Beats per minute."},{"name":"activity_data","type":{"type":"map","values":"double"},"default":{},"doc":"steps, distance_m, active_energy_kcal, total_energy_kcal, active_seconds, strain."},{"name":"flags","type":{"type":"array","items":"string"},"default":[],"doc":"What a reader should know of its quality."},{"name":"baseline","type":["null",{"type":"record","name":"Baseline","doc":"The HRV of this user and device over the 30 days before this event.","fields":[{"name":"hrv_mean","type":"double","doc":"RMSSD in ms."},{"name":"hrv_sd","type":"double","doc":"Sample standard deviation in ms; 0 of a single night."},{"name":"nights","type":"int"}]}],"default":null},{"name":"triggers","type":{"type":"array","items":{"type":"record","name":"Trigger","fields":[{"name":"type","type":"string"},{"name":"severity","type":"string"},{"name":"metric","type":"string"},{"name":"value","type":"double"},{"name":"threshold","type":"double"},{"name":"recommendation","type":"string"},{"name":"alert_id","type":"string","doc":"Deterministic UUID over device, user, type and the night."},{"name":"first","type":"boolean","doc":"Not raised for this alert_id before."}]}},"default":[]},{"name":"priority","type":{"type":"enum","name":"Priority","symbols":["HIGH","MEDIUM","NORMAL"],"default":"NORMAL"}},{"name":"resource_id","type":"string","doc":"Which object of the vendor."},{"name":"revision","type":"long","doc":"Which version of it, epoch ms."},{"name":"deleted","type":"boolean","default":false,"doc":"The vendor retracted the resource."},{"name":"supersedes","type":["null",{"type":"record","name":"Superseded","doc":"The version of this resource that came before.","fields":[{"name":"event_id","type":"string"},{"name":"priority","type":"Priority"},{"name":"alert_ids","type":{"type":"array","items":"string"},"default":[],"doc":"The alerts that it raised: those that no newer version raises can be withdrawn."}]}],"default":null},{"name":"generation","type":"long","default":0,"doc":"Which recomputation of history made it; versions are ordered by generation, revision, raw.offset."},{"name":"received_at","type":{"type":"long","logicalType":"timestamp-millis"},"doc":"When the ingress took it."},{"name":"raw","type":{"type":"record","name":"RawRef","doc":"The raw record it was made from.","fields":[{"name":"topic","type":"string"},{"name":"partition","type":"int"},{"name":"offset","type":"long"}]}}]}';
