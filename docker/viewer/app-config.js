// OHIF beside the PACS: worklist at /viewer, studies by DICOMweb from the same address, nothing from anywhere else.
window.config = {
  routerBasename: '/viewer',
  extensions: [],
  modes: [],
  // No guided tour, and no film player over pictures of modality OT, which have one frame.
  customizationService: [{ 'ohif.tours': { $set: [] }, autoCineModalities: { $set: [] } }],
  // The node's reports and pictures say on their own that they are for research only.
  investigationalUseDialog: { option: 'configure', days: 30 },
  showStudyList: true,
  showLoadingIndicator: true,
  showWarningMessageForCrossOrigin: false,
  showErrorDetails: 'always',
  maxNumberOfWebWorkers: 3,
  httpErrorHandler: error => console.warn(error),
  defaultDataSourceName: 'pacs',
  dataSources: [
    {
      namespace: '@ohif/extension-default.dataSourcesModule.dicomweb',
      sourceName: 'pacs',
      configuration: {
        friendlyName: 'PACS',
        name: 'pacs',
        wadoUriRoot: '/dicom-web',
        qidoRoot: '/dicom-web',
        wadoRoot: '/dicom-web',
        qidoSupportsIncludeField: false,
        imageRendering: 'wadors',
        thumbnailRendering: 'wadors',
        enableStudyLazyLoad: true,
        supportsFuzzyMatching: false,
        supportsWildcard: true,
        omitQuotationForMultipartRequest: true,
        bulkDataURI: { enabled: true },
      },
    },
  ],
};
